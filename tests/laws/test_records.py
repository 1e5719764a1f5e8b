"""What records hold and how large they are is what Flower and numpy make of them."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_to_proto
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hedgerow import records
from hedgerow.types import Layout, Model, Payload, PayloadError
from hedgerow.wire import messages
from hedgerow.wire.replies import Reply, measure_reply
from tests.flower_messages import pack_reply

plain = hnp.arrays(
    st.one_of(
        hnp.floating_dtypes(endianness="="), hnp.integer_dtypes(endianness="="), hnp.unsigned_integer_dtypes()
    ),
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5),
)
names = st.text(min_size=0, max_size=300)
arrays = st.dictionaries(names, plain, max_size=4)


@given(arrays)
def test_packed_arrays_are_what_flower_packs_and_come_back(given_arrays):
    packed = records.pack_state(given_arrays)
    assert packed == ArrayRecord({name: Array(values) for name, values in given_arrays.items()})
    for name, values in records.unpack_state(packed).items():
        np.testing.assert_array_equal(values, given_arrays[name], strict=True)
        assert not values.flags.writeable


@given(
    st.dictionaries(
        names,
        st.one_of(
            arrays.map(lambda a: ArrayRecord({k: Array(v) for k, v in a.items()})),
            st.dictionaries(names, st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats()), max_size=3).map(
                MetricRecord
            ),
            st.dictionaries(
                names,
                st.one_of(st.booleans(), st.text(), st.binary(), st.lists(st.integers(-9, 9)), st.floats()),
            ).map(ConfigRecord),
        ),
        max_size=5,
    )
)
def test_the_size_is_that_of_the_serialised_record(content):
    record = RecordDict(content)
    assert records.measure(record) == len(recorddict_to_proto(record).SerializeToString())
    assert records.measure(record) == len(recorddict_to_proto(record).SerializeToString())


@pytest.mark.parametrize("length", [0, 1, 100, 127, 128, 129, 16_250, 16_383, 16_384, 20_000, 2_100_000])
def test_also_where_the_length_of_a_length_changes(length):
    for other in (0, 1, 7):
        array = Array("uint8", (length,), "numpy.ndarray", bytes(length + other))
        record = RecordDict(
            {"a": ArrayRecord({"x": array, "y": Array(np.zeros(3))}), "b": ConfigRecord({"c": 1})}
        )
        assert records.measure(record) == len(recorddict_to_proto(record).SerializeToString())


sizes = st.one_of(st.integers(0, 300), st.integers(2**31 - 2, 2**31 + 2), st.integers(2**62, 2**63 - 1))


@given(
    st.dictionaries(names, plain, min_size=1, max_size=3),
    st.integers(0, 40),
    st.integers(0, 40),
    st.dictionaries(names, st.floats(allow_nan=False), max_size=3),
    sizes,
    sizes,
    st.text(min_size=1, max_size=200),
)
def test_a_reply_that_is_not_packed_has_the_size_that_it_would_have(
    values, buffers, control, metrics, examples, number, client
):
    streams = {"buffers": np.zeros(buffers, np.float32), "control": np.zeros(control, np.float32)}
    streams = {name: values for name, values in streams.items() if values.size}
    reply = Reply(Payload(values, 2.0), streams, examples, metrics)
    for _ in range(2):
        size = measure_reply(reply, round=number, client=client)
        assert size == records.measure(pack_reply(reply, round=number, client=client))
        assert size == len(
            recorddict_to_proto(pack_reply(reply, round=number, client=client)).SerializeToString()
        )


def altered(**fields):
    values = np.arange(6, dtype=np.float32)
    good = Array(values)
    given = {"dtype": good.dtype, "shape": good.shape, "stype": good.stype, "data": good.data, **fields}
    return Array(**given)


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": "int32"},
        {"dtype": "no such type"},
        {"dtype": "object"},
        {"shape": (5,)},
        {"shape": (-6,)},
        {"shape": (2, 3)},
        {"shape": ()},
        {"shape": (2**62,)},
        {"data": Array(np.arange(6, dtype=np.float64)).data},
        {"data": Array(np.arange(6, dtype=np.dtype(">f4"))).data},
    ],
    ids=str,
)
def test_what_an_array_says_of_itself_is_not_trusted(fields):
    """Its bytes alone decide, as in Flower: what differs from numpy's own head is read by numpy."""
    array = altered(**fields)
    mine = records.unpack_state(ArrayRecord({"a": array}))["a"]
    np.testing.assert_array_equal(mine, array.numpy(), strict=True)


def head(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        Array(np.zeros(6, np.float32)).data[:-1],
        Array(np.zeros(6, np.float32)).data + b"more",
        b"x" * 200,
        head("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}\n"),
        head("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}\n") + bytes(4),
        head("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n") + bytes(8),
        head("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}\n") + bytes(4),
        head("{'descr': '<f4', 'fortran_order': False, 'shape': __import__}\n"),
    ],
    ids=lambda data: str(data[8:90]),
)
def test_bytes_that_are_no_array_to_the_last_one_are_refused(data):
    content = messages.pack_train(Model(np.zeros(6, np.float32)), Layout.flat(6), round=1, seed=0)
    content["model"]["parameters"] = replace(content["model"]["parameters"], data=data)
    with pytest.raises(PayloadError, match="cannot be read"):
        messages.unpack_train(content, Layout.flat(6))
