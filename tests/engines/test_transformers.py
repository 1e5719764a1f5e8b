"""Models of transformers and peft, with random weights, are federated as they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import hedgerow as hr
from hedgerow.client.cohort import CohortTrainer

pytestmark = [
    pytest.mark.slow,  # importing the two takes seconds
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # peft on transformers 5
]
WORDS, TIME = 30, 10
LOCAL = hr.LocalTraining(learning_rate=0.5, batch_size=4)


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(
        BertConfig(
            vocab_size=WORDS, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=20, max_position_embeddings=12, num_labels=3,
        )
    )  # fmt: skip


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=WORDS, n_positions=12, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
        )
    )


def peft_bert() -> nn.Module:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(bert(), LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS"))


def peft_gpt2() -> nn.Module:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(
        gpt2(), LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM")
    )


def classified(output: Any, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output.logits, y)


def next_word(output: Any, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output.logits.transpose(1, 2), y)


def sentences(k: int) -> hr.Samples:
    rng = np.random.default_rng(k)
    return hr.Samples(rng.integers(WORDS, size=(8, TIME)), rng.integers(3, size=8))


def texts(k: int) -> hr.Samples:
    words = np.random.default_rng(k).integers(WORDS, size=(8, TIME + 1))
    return hr.Samples(words[:, :-1], words[:, 1:])


ours = hr.lora(bert, rank=2, targets=["*.query", "*.value"], train=["classifier"])
CASES = {
    "bert": (bert, classified, sentences),
    "gpt2": (gpt2, next_word, texts),
    "bert with peft": (peft_bert, classified, sentences),
    "gpt2 with peft": (peft_gpt2, next_word, texts),
    "bert with our adapters": (ours, classified, sentences),
}


@pytest.mark.parametrize("name", CASES)
def test_a_model_is_trained_unchanged_and_sends_what_it_trains(name: str, tmp_path: Path) -> None:
    factory, loss, samples = CASES[name]
    task = hr.Task(factory, loss)
    layout, start = hr.TorchTrainer(task).layout, hr.TorchTrainer(task).initial(3)
    trainable = sum(p.numel() for p in factory().parameters() if p.requires_grad)
    assert layout.dimension == trainable
    assert (layout.constant_size > 5 * trainable) == ("with" in name)
    data = hr.from_function(3, samples)
    strategy = hr.fedavg(sampling=hr.uniform(3), local=LOCAL)
    results = list(hr.simulate(task, data, strategy, rounds=2, seed=3, folder=tmp_path))
    assert not any(r.dropped or r.failed for r in results)
    model = results[-1].state.model
    assert model.constants.tobytes() == start.constants.tobytes()
    assert not np.array_equal(model.parameters, start.parameters)
    assert all(4 * trainable < sent < 4 * trainable + 4000 for sent in results[-1].bytes_up.values())
    check_saved(factory, load_file(tmp_path / "model.safetensors"))


def check_saved(factory: Callable[[], nn.Module], saved: dict[str, Tensor]) -> None:
    """Every value of a module comes from the file, whatever names it has."""
    module = factory()
    module.load_state_dict(saved, strict=True)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, saved[name]), name


def test_adapters_of_ours_and_of_peft_have_the_same_size_and_ours_merge() -> None:
    assert hr.TorchTrainer(hr.Task(ours, classified)).layout.dimension == (
        hr.TorchTrainer(hr.Task(peft_bert, classified)).layout.dimension
    )
    adapted, plain = ours().eval(), bert().eval()
    with torch.no_grad():
        for p in adapted.parameters():
            if p.requires_grad:
                p.normal_()
    plain.load_state_dict(ours.merge(adapted.state_dict()), strict=True)
    x = torch.from_numpy(sentences(0).x)
    with torch.no_grad():
        torch.testing.assert_close(plain(x).logits, adapted(x).logits, atol=1e-5, rtol=1e-5)


def test_where_clients_cannot_be_batched_the_loop_trains_them_and_says_why() -> None:
    trainer = CohortTrainer(hr.Task(peft_bert, classified))
    clients = [(str(k), sentences(k)) for k in range(3)]
    start = trainer.initial(0)
    fits = dict(trainer.fit_many(start, clients, LOCAL, seed=1, round=1))
    assert trainer.choice is not None
    assert trainer.choice.method == "loop"
    assert "random" in trainer.choice.why  # dropout inside of a layer that is not torch's
    for name, data in clients:
        alone = trainer.fit(start, data, LOCAL, seed=1, round=1, client=name)
        assert fits[name].delta.tobytes() == alone.delta.tobytes()
