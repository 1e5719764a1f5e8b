"""Tables that people might pick: plain ones, odd ones, and ones that a seed has damaged."""

import json
from collections.abc import Iterator

import numpy as np

from hedgerow.recipe.own_data import OwnSchema

CLASSES = OwnSchema(
    columns=("age", "pressure"), label="sick", classes=("0", "1"), shift=(50.0, 120.1), scale=(10.0, 3.0),
    lowest=(0.0, 40.0), highest=(120.0, 260.0),
)  # fmt: skip
NUMBERS = OwnSchema(columns=("age", "pressure"), label="sick", scale=(0.1,))

PLAIN = "age,pressure,sick\n50.5,120,1\n61,99.9,0\n"
ODD = (
    PLAIN,
    "\ufeff" + PLAIN,
    PLAIN.replace("\n", "\r\n"),
    PLAIN.replace("\n", "\r"),
    PLAIN.replace(",", ";"),
    PLAIN.replace(",", "\t"),
    PLAIN.replace(",", " , "),
    "\n\n" + PLAIN + "\n , ,\n",
    'age,"pressure","sick"\n"50.5", "120" ,1\n',
    '"age", "pressure","sick"\n"50.5","120","1"\n',
    'note,age,pressure,sick\n"a ""word"", and\na line",50,120,1\n',
    "sick,age,other,pressure\n1,50,x,120\n0,1_0,,4_0.5\n",
    "age,pressure,sick\n5e1,1.2E+2,1\n.5,+120.,0\n-0,40,0\n",
    "age,pressure,sick\n٥٠,１２０,1\n",
    "age,pressure,sick\n\u200350\u2003,\x1c120\x85,1\n",
    "age,pressure,sick\n50,120,1.5\n",
    "age,pressure,sick\n50,120,1e39\n",
    "age,pressure,sick\n50,120,nan\n1,50,inf\n",
    "age,pressure,sick\n50,120,1\n1,3.5e37,1\n",
    "age,pressure,sick\n-1e300,120,1\n",
    "age,pressure,sick\n50,120,-1e300\n",
    "age,pressure,sick\n0x10,120,1\n",
    "age,pressure,sick\n1__0,120,1\n",
    "age,pressure,sick\n121,120,1\n",
    "age,pressure,sick\n50,120,maybe\n",
    "age,pressure,sick\n50,120\n",
    "age,pressure,sick\n",
    "age,pressure\n50,120\n",
    "age,age,pressure,sick\n1,2,50,1\n",
    "age;pressure,sick\n1;50,1\n",
    'age,pressure,sick\n"50,120,1\n',
    'age,pressure,sick\n"50"1,120,1\n',
    "",
    "\n",
    "\ufeff",
)
_DAMAGE = '   \n\n\r11234_.\xa0\xa0٣,;\t"e-\ufeffé'


def tables(damaged: int = 600) -> Iterator[tuple[OwnSchema, bytes]]:
    """Schemas with files, each the bytes of one."""
    for schema in (CLASSES, NUMBERS):
        for text in ODD:
            yield schema, text.encode()
        yield schema, PLAIN.encode("utf-16")
        yield schema, PLAIN.encode() + b"\xff"
    random = np.random.default_rng(13)
    for _ in range(damaged):
        text = list(ODD[random.integers(15)])
        for _ in range(random.integers(1, 3)):
            place = int(random.integers(len(text) + 1))
            text[place : place + int(random.random() < 0.2)] = _DAMAGE[random.integers(len(_DAMAGE))]
        yield (CLASSES, NUMBERS)[random.integers(2)], "".join(text).encode()


def as_line(schema: OwnSchema, file: bytes) -> str:
    """A table as the reader in TypeScript takes it."""
    return f"{file.hex()} {json.dumps(schema.to_json())}"
