"""Generation equals Hugging Face's, each prompt alone, and a loop of whole forwards under the same edits."""

import re
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from engine.errors import DataError, ModelError, SpecError
from engine.models import batch_cache, load
from engine.models import generate as generation
from engine.models.forward import NO_EDITS
from engine.models.generate import Completion, Stop, end_tokens, generate, stream
from engine.models.micro import micro_model
from engine.models.sampling import Sampling
from engine.models.sites import Site
from engine.spec.sites import ATTN_OUT, MLP_OUT, RESID_MID, RESID_POST, RESID_PRE, Z
from tests.models.random_models import NAMES, random_model

TEXTS = [
    "Fact : The capital city of France is",
    "one red cat sat on two green dogs and",
    "People speak a",
    "Paris",
    "People speak a language in the river tower of Madrid , and one red cat",
]
TIE = 1e-4
POSITIONS = {
    "all": lambda position, length: True,
    "prompt": lambda position, length: position < length,
    "generated": lambda position, length: position >= length,
    "predicting": lambda position, length: position >= length - 1,
}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request):
    return micro_model(request.param, n_layers=3, seed=1)


@cache
def steered():
    """A direction of d_model 32."""
    return torch.randn(32, generator=torch.Generator().manual_seed(5))


def ids(completions):
    return [list(completion.token_ids) for completion in completions]


def require_same(model, prompt, ours, theirs, edit=NO_EDITS):
    """The same tokens until the two best logits are within rounding."""
    assert len(ours) == len(theirs)
    for at, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        if our != their:
            run = model.forward(torch.tensor([[*prompt, *ours[:at]]]), edit=edit)
            best = model.unembed(run.resid[0, -1]).topk(2).values
            assert best[0] - best[1] <= TIE, f"differs at token {at}"
            return


def hugging_face(model, prompts, max_tokens):
    """Its `generate` over a batch padded on the left; what it adds to each prompt."""
    longest = max(map(len, prompts))
    pads = [[0] * (longest - len(prompt)) for prompt in prompts]
    input_ids = torch.tensor([pad + prompt for pad, prompt in zip(pads, prompts, strict=True)])
    mask = torch.tensor([[0] * len(p) + [1] * (longest - len(p)) for p in pads])
    found = model.hf.generate(
        input_ids, attention_mask=mask, max_new_tokens=max_tokens, do_sample=False, pad_token_id=0
    )
    return found[:, longest:].tolist()


def slow(model, prompt, max_tokens, edit=None, where=lambda position, length: True):
    """Every token from a forward over all of the text so far; edits where `where` says."""
    row = list(prompt)
    for _ in range(max_tokens):
        chosen = torch.tensor([where(position, len(prompt)) for position in range(len(row))])

        def at_some(change, chosen=chosen):
            def edited(value):
                return change(value).where(chosen.view(1, -1, *[1] * (value.ndim - 2)), value)

            return edited

        edits = {site: at_some(change) for site, change in (edit or {}).items()}
        run = model.forward(torch.tensor([row]), edit=edits)
        row.append(int(model.unembed(run.resid[:, -1]).argmax()))
    return row[len(prompt) :]


def test_greedy_equals_hugging_face(model):
    prompts = model.token_ids(TEXTS)
    ours = generate(model, TEXTS, max_tokens=20)
    for prompt, mine, theirs in zip(prompts, ids(ours), hugging_face(model, prompts, 20), strict=True):
        require_same(model, prompt, mine, theirs)
    assert {completion.stopped for completion in ours} == {"max_tokens"}


def test_a_batch_equals_each_prompt_alone(model):
    together = generate(model, TEXTS, max_tokens=20)
    for text, found in zip(TEXTS, together, strict=True):
        (alone,) = generate(model, [text], max_tokens=20)
        require_same(model, model.token_ids([text])[0], found.token_ids, alone.token_ids)
        assert found.log_probs == pytest.approx(alone.log_probs, abs=1e-4)


def test_it_does_not_matter_how_prompts_are_put_into_batches(model, monkeypatch):
    expected = ids(generate(model, TEXTS, max_tokens=8))
    for batch_size in (1, 2, 3):
        assert ids(generate(model, TEXTS, max_tokens=8, batch_size=batch_size)) == expected
    monkeypatch.setattr(generation, "PREFILL_TOKENS", 12)
    assert ids(generate(model, TEXTS, max_tokens=8)) == expected
    assert ids(generate(model, TEXTS[::-1], max_tokens=8)) == expected[::-1]


def test_room_that_grows_in_chunks_keeps_what_was_there(model, monkeypatch):
    expected = ids(generate(model, TEXTS, max_tokens=12))
    monkeypatch.setattr(batch_cache, "CHUNK", 3)
    assert ids(generate(model, TEXTS, max_tokens=12)) == expected


def test_token_ids_are_taken_as_they_are_and_texts_are_tokenised(model):
    prompts = model.token_ids(TEXTS)
    assert ids(generate(model, prompts, max_tokens=4)) == ids(generate(model, TEXTS, max_tokens=4))
    assert ids(generate(model, [TEXTS[0], prompts[1]], max_tokens=4)) == ids(
        generate(model, TEXTS[:2], max_tokens=4)
    )
    assert generate(model, [], max_tokens=4) == []


def test_log_probabilities_are_those_of_the_whole_forward(model):
    (found,) = generate(model, TEXTS[:1], max_tokens=6)
    prompt = model.token_ids(TEXTS[:1])[0]
    logits = model.logits(torch.tensor([[*prompt, *found.token_ids]]))[0]
    expected = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(found.token_ids)[:, None])
    assert found.log_probs == pytest.approx(expected[:, 0].tolist(), abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_writes_what_hugging_face_writes(name):
    """Windows are shorter than the prompts: a cache that showed too much or too little would be seen."""
    model = random_model(name)
    # Longer than 24 tokens one of them cannot read.
    texts = [*TEXTS[:4], TEXTS[4].partition(",")[0]]
    prompts = model.token_ids(texts)
    found = ids(generate(model, texts, max_tokens=12))
    for prompt, mine, theirs in zip(prompts, found, hugging_face(model, prompts, 12), strict=True):
        require_same(model, prompt, mine, theirs)
    edit = {Site(1, MLP_OUT): lambda x: x + steered()}
    found = ids(generate(model, texts, max_tokens=12, edit=edit))
    for prompt, mine in zip(prompts, found, strict=True):
        require_same(model, prompt, mine, slow(model, prompt, 12, edit), edit)


def through_a_bridge(name):
    """A model as if the engine had no blocks of its own for it."""
    model = random_model(name)
    return replace(model, anatomy=replace(model.anatomy, style="bridge"))


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "gemma2"])
def test_a_model_that_is_read_through_a_bridge_writes_the_same(name):
    edit = {Site(1, RESID_POST): lambda x: x + 2 * steered(), Site(2, ATTN_OUT): lambda x: 0.5 * x}
    for positions in POSITIONS:
        settings = {"max_tokens": 4, "edit": edit, "edit_positions": positions, "sampling": Sampling(1.5)}
        plain = generate(random_model(name), TEXTS[:3], **settings)
        assert ids(generate(through_a_bridge(name), TEXTS[:3], **settings)) == ids(plain)


@pytest.mark.parametrize("name", [name for name in NAMES if "gemma" in name or "window" in name])
def test_windows_hold_after_a_shared_start(name):
    model = random_model(name)
    prompts = with_common_start(model)
    shared = generate(model, prompts, max_tokens=10)
    apart = generate(model, prompts, max_tokens=10, share_prefix=False)
    for prompt, one, other in zip(prompts, ids(shared), ids(apart), strict=True):
        require_same(model, prompt, one, other)
        require_same(model, prompt, one, slow(model, prompt, 10))


# --- a start that prompts share


def with_common_start(model):
    start = model.token_ids(["People speak a language in the river tower of Madrid , and one red cat sat"])[0]
    return [start + tail for tail in model.token_ids(["on two green dogs", "in Paris", "on Fact : The"])]


def test_a_shared_start_changes_nothing_and_is_computed_once(model, monkeypatch):
    prompts = with_common_start(model)
    computed = []
    block = type(model.decoder.blocks[0])
    mlp_post = block.mlp_post
    monkeypatch.setattr(
        block, "mlp_post", lambda self, x: (computed.append(x.shape[:2]), mlp_post(self, x))[1]
    )
    shared = generate(model, prompts, max_tokens=10)
    # The 16 positions of the start in a batch of 1, then the 4 that the longest has left, in a batch of 3.
    assert computed[: 2 * model.n_layers : model.n_layers] == [(1, 16), (3, 4)]
    apart = generate(model, prompts, max_tokens=10, share_prefix=False)
    for prompt, one, other in zip(prompts, ids(shared), ids(apart), strict=True):
        require_same(model, prompt, one, other)


def test_equal_prompts_share_all_but_their_last_position(model):
    prompts = with_common_start(model)[:1] * 4
    found = ids(generate(model, prompts, max_tokens=5))
    assert found == [found[0]] * 4
    require_same(model, prompts[0], found[0], slow(model, prompts[0], 5))


def test_edits_reach_a_shared_start(model):
    prompts = with_common_start(model)
    edit = {Site(0, MLP_OUT): lambda x: x + steered()}
    shared = generate(model, prompts, max_tokens=6, edit=edit)
    for prompt, mine in zip(prompts, ids(shared), strict=True):
        require_same(model, prompt, mine, slow(model, prompt, 6, edit))


# --- edits


@pytest.mark.parametrize("positions", POSITIONS)
def test_edits_equal_whole_forwards_with_the_same_edits(model, positions):
    edit = {Site(1, RESID_POST): lambda x: x + 2 * steered(), Site(2, Z): lambda x: 0.5 * x}
    plain = ids(generate(model, TEXTS, max_tokens=10))
    found = ids(generate(model, TEXTS, max_tokens=10, edit=edit, edit_positions=positions))
    for prompt, mine in zip(model.token_ids(TEXTS), found, strict=True):
        require_same(model, prompt, mine, slow(model, prompt, 10, edit, POSITIONS[positions]))
    assert found != plain


@pytest.mark.parametrize("kind", [RESID_PRE, Z, ATTN_OUT, RESID_MID, MLP_OUT, RESID_POST])
def test_a_direction_is_ablated_at_every_position(model, kind):
    def ablated(x):
        flat = x.flatten(2)
        unit = steered() / steered().norm()
        return (flat - (flat @ unit)[..., None] * unit).view_as(x)

    edit = dict.fromkeys(model.sites(kind), ablated)
    found = ids(generate(model, TEXTS, max_tokens=8, edit=edit))
    for prompt, mine in zip(model.token_ids(TEXTS), found, strict=True):
        require_same(model, prompt, mine, slow(model, prompt, 8, edit))


def test_edits_of_generated_positions_leave_the_first_token_alone(model):
    edit = {Site(0, RESID_POST): lambda x: 0 * x}
    plain = ids(generate(model, TEXTS, max_tokens=3))
    found = ids(generate(model, TEXTS, max_tokens=3, edit=edit, edit_positions="generated"))
    assert [row[0] for row in found] == [row[0] for row in plain]
    assert found != plain


def test_no_gradients_are_recorded(model):
    direction = steered().clone().requires_grad_()
    seen = []

    def edit(x):
        seen.append((x + direction).requires_grad)
        return x + direction

    generate(model, TEXTS[:1], max_tokens=2, edit={Site(1, RESID_PRE): edit})
    assert seen == [False, False]
    assert torch.is_grad_enabled()
    for _ in stream(model, TEXTS[:1], max_tokens=2):
        assert torch.is_grad_enabled()


# --- sampling


def test_a_seed_reproduces_and_another_gives_something_else(model):
    first, again, other = (
        ids(generate(model, TEXTS, max_tokens=10, sampling=Sampling(1.0, seed=seed))) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_a_sample_does_not_depend_on_what_else_is_in_the_batch(model):
    sampling = Sampling(1.5, 0.9, seed=7)
    together = ids(generate(model, TEXTS, max_tokens=12, sampling=sampling))
    for text, found in zip(TEXTS, together, strict=True):
        assert ids(generate(model, [text], max_tokens=12, sampling=sampling)) == [found]
        assert ids(generate(model, ["sat", text], max_tokens=12, sampling=sampling))[1] == found
    assert ids(generate(model, TEXTS[::-1], max_tokens=12, sampling=sampling)) == together[::-1]


def test_equal_prompts_are_sampled_apart(model):
    found = ids(generate(model, TEXTS[:1] * 5, max_tokens=10, sampling=Sampling(3.0)))
    assert len({tuple(row) for row in found}) == 5
    # The first three of five are the three of three.
    assert ids(generate(model, TEXTS[:1] * 3, max_tokens=10, sampling=Sampling(3.0))) == found[:3]


def test_samples_are_distributed_as_the_model_says(model):
    """Pearson's chi-square over the next token of one prompt; with a fixed seed, it cannot fail by chance."""
    n_samples = 2000
    sampling = Sampling(temperature=1.3, top_p=0.95, seed=11)
    prompt = model.token_ids(TEXTS[:1])[0]
    found = generate(model, [prompt] * n_samples, max_tokens=1, sampling=sampling, batch_size=n_samples)
    counts = torch.bincount(torch.tensor(ids(found)).flatten(), minlength=model.shape.vocab).double()
    expected = (model.logits(torch.tensor([prompt]))[0, -1:] / 1.3).softmax(-1)[0]
    ranked, order = expected.sort(descending=True)
    n_kept = int((ranked.cumsum(0) < 0.95).sum()) + 1
    assert 0 < n_kept < model.shape.vocab
    assert counts[order[n_kept:]].sum() == 0
    kept = order[:n_kept]
    share = (expected[kept] / expected[kept].sum()).double()
    chi_square = ((counts[kept] - n_samples * share) ** 2 / (n_samples * share)).sum()
    # With n_kept - 1 degrees of freedom it has that mean, and twice that variance.
    freedom = n_kept - 1
    assert abs(chi_square - freedom) <= 4 * (2 * freedom) ** 0.5


# --- stops


def test_a_stop_token_ends_a_text_and_the_others_go_on(model):
    plain = generate(model, TEXTS, max_tokens=12)
    token = plain[0].token_ids[3]
    found = generate(model, TEXTS, max_tokens=12, stop=Stop(tokens=[token]))
    for whole, cut in zip(plain, found, strict=True):
        if token not in whole.token_ids:
            assert cut == whole
            continue
        length = whole.token_ids.index(token) + 1
        assert cut.token_ids == whole.token_ids[:length]
        assert cut.log_probs == pytest.approx(whole.log_probs[:length], abs=1e-4)
        assert cut.stopped == "token"
        assert model.decode(cut.token_ids[:-1]) == cut.text.strip()
    assert found[0].stopped == "token" and len(found[0].token_ids) <= 4


def test_texts_that_end_at_different_times_do_not_disturb_each_other(model):
    """Rows leave from the middle of the batch again and again."""
    plain = ids(generate(model, TEXTS * 3, max_tokens=16, sampling=Sampling(3.0, seed=1)))
    stops = [plain[0][2], plain[4][5], plain[7][9]]
    found = generate(model, TEXTS * 3, max_tokens=16, sampling=Sampling(3.0, seed=1), stop=Stop(tokens=stops))
    lengths = set()
    for whole, cut in zip(plain, ids(found), strict=True):
        ends = [whole.index(token) + 1 for token in stops if token in whole]
        assert cut == whole[: min(ends, default=16)]
        lengths.add(len(cut))
    assert len(lengths) >= 3


def test_a_text_ends_before_a_stop_string(model):
    (plain,) = generate(model, TEXTS[:1], max_tokens=12)
    words = plain.text.split()
    # Across a border of tokens: the end of one word, the space, the beginning of the next.
    string = f"{words[4][-1]} {words[5][0]}"
    (found,) = generate(model, TEXTS[:1], max_tokens=12, stop=Stop(strings=[string, "never said"]))
    assert found.stopped == "string"
    assert found.text == plain.text[: plain.text.index(string)]
    assert found.token_ids == plain.token_ids[: len(found.token_ids)]
    assert string in model.decode(found.token_ids) and string not in model.decode(found.token_ids[:-1])


def test_the_context_is_filled_and_not_exceeded(model):
    start = [2] * 120
    (found,) = generate(model, [start], max_tokens=50)
    assert found.stopped == "context"
    assert len(start) + len(found.token_ids) == model.anatomy.context_tokens
    short, long = generate(model, [start[:100], start], max_tokens=20)
    assert (short.stopped, len(short.token_ids)) == ("max_tokens", 20)
    assert (long.stopped, len(long.token_ids)) == ("context", 8)


def test_it_ends_at_the_tokens_that_the_models_files_name(tmp_path, write_folder):
    model = micro_model("llama", n_layers=3, seed=1)
    plain = ids(generate(model, TEXTS[:1], max_tokens=10))[0]
    assert end_tokens(model) == frozenset()
    ending = replace(model, config={**model.config, "eos_token_id": [plain[3], 0]})
    assert end_tokens(ending) == {plain[3], 0}
    (found,) = generate(ending, TEXTS[:1], max_tokens=10)
    assert list(found.token_ids) == plain[: plain.index(plain[3]) + 1] and found.stopped == "token"
    (through,) = generate(ending, TEXTS[:1], max_tokens=10, stop=Stop(at_end=False))
    assert list(through.token_ids) == plain

    folder = write_folder(tmp_path / "model")
    (folder / "generation_config.json").write_text('{"eos_token_id": 7}')
    (folder / "tokenizer_config.json").write_text('{"eos_token": {"content": "Paris"}}')
    there = replace(model, folder=folder)
    assert end_tokens(there) == {7, model.text.token_to_id("Paris")}


# --- streaming


def test_a_stream_has_the_tokens_and_text_of_generate(model):
    settings = {"max_tokens": 12, "sampling": Sampling(2.0, seed=2), "stop": Stop(strings=["cat s", "is R"])}
    expected = generate(model, TEXTS, **settings)
    pieces = list(stream(model, TEXTS, **settings))
    for prompt, whole in enumerate(expected):
        mine = [new for new in pieces if new.prompt == prompt]
        assert tuple(new.token_id for new in mine) == whole.token_ids
        assert "".join(new.text for new in mine) == whole.text
        assert [new.stopped for new in mine] == [None] * (len(mine) - 1) + [whole.stopped]


def test_a_stream_that_is_left_computes_no_more(model, monkeypatch):
    computed = []
    block = type(model.decoder.blocks[0])
    attend = block.attend
    monkeypatch.setattr(block, "attend", lambda self, *a: (computed.append(1), attend(self, *a))[1])
    tokens = stream(model, TEXTS[:1], max_tokens=50)
    next(tokens)
    next(tokens)
    tokens.close()
    assert len(computed) == 2 * model.n_layers


# --- what cannot be generated


@pytest.mark.parametrize(
    ("prompts", "settings", "error", "says"),
    [
        (["Paris", ""], {}, DataError, r"prompt 1: an empty prompt"),
        ([[]], {}, DataError, "empty prompt"),
        ([[1, 999]], {}, DataError, r"(?s)vocabulary.*seen: 1 to 999"),
        ([[-1]], {}, DataError, "vocabulary"),
        ([[1] * 128], {}, DataError, r"(?s)no room.*at most 127 tokens.*seen: 128"),
        ("Paris", {}, DataError, "prompts are a list"),
        (["Paris"], {"max_tokens": 0}, SpecError, r"(?s)max_tokens.*1 or more.*seen: 0"),
        (["Paris"], {"batch_size": 0}, SpecError, "batch_size"),
        (["Paris"], {"edit_positions": "promt"}, SpecError, r"(?s)seen: promt.*nearest: prompt"),
        (["Paris"], {"edit": {Site(9, Z): lambda x: x}}, ModelError, r"blocks\.9\.attn\.hook_z"),
    ],
)
def test_what_is_impossible_is_said_at_the_call(unchecked_shapes, model, prompts, settings, error, says):
    for call in (generate, stream):
        with pytest.raises(error, match=says):
            call(model, prompts, **{"max_tokens": 5, **settings})


def test_there_is_no_stream_between_attention_and_mlp_where_both_read_one():
    with pytest.raises(ModelError, match=r"(?s)does not have.*seen: blocks\.1\.hook_resid_mid"):
        stream(random_model("gpt_neox"), TEXTS, max_tokens=2, edit={Site(1, RESID_MID): lambda x: x})


def test_edits_that_would_change_nothing_are_refused(model):
    with pytest.raises(SpecError, match="would change nothing"):
        generate(model, TEXTS, max_tokens=1, edit={Site(0, Z): lambda x: x}, edit_positions="generated")


def test_an_edit_that_changes_the_shape_or_gives_no_numbers_is_an_error(model):
    for positions in ("all", "predicting"):
        with pytest.raises(ModelError, match="changes the shape"):
            generate(
                model, TEXTS, max_tokens=2, edit={Site(0, Z): lambda x: x[:1, :1]}, edit_positions=positions
            )
    with pytest.raises(ModelError, match="not finite"):
        generate(model, TEXTS, max_tokens=2, edit={Site(1, MLP_OUT): lambda x: x / 0})


@pytest.mark.parametrize("strings", [[""], ["a", ""], "stop"])
def test_stop_strings_that_say_nothing_are_refused(strings):
    with pytest.raises(SpecError, match="stop string"):
        Stop(strings=strings)


# --- the page


def test_the_examples_of_the_page_run(monkeypatch, capsys):
    """In their order, on a micro model that has a chat template, with what the text between them supposes."""
    page = (Path(__file__).parents[2] / "site/guide/generation.md").read_text(encoding="utf-8")
    model = micro_model("llama", n_layers=13)
    model.tokenizer.chat_template = "{% for turn in messages %}{{ turn.content }} {% endfor %}"
    monkeypatch.setattr(load, "load", lambda name: model)
    given = {"prompts": TEXTS, "direction": steered() / steered().norm()}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        exec(block, given)
    assert "max_tokens" in capsys.readouterr().out
    # Every choice and every field has its line.
    for name in (*POSITIONS, *(f.name for f in fields(Completion)), *get_args(generation.StopReason)):
        assert f"`{name}`" in page


def test_what_follows_each_prompt_is_told_once_under_the_edits() -> None:
    model = micro_model("llama", n_layers=3)
    prompts = [[5, 6, 7, 8], [5, 6, 9], [5, 6, 7], [5, 6, 10, 11, 12]]
    doubled = {Site(1, RESID_PRE): lambda value: 2 * value}
    told: dict[int, Tensor] = {}

    def read(numbers: list[int], logits: Tensor) -> None:
        assert not set(numbers) & set(told)
        told.update(zip(numbers, logits, strict=True))

    found = generate(model, prompts, max_tokens=3, edit=doubled, batch_size=2, on_prompts=read)
    assert sorted(told) == [0, 1, 2, 3]
    for number, prompt in enumerate(prompts):
        resid = model.forward(torch.tensor([prompt]), edit=doubled).resid
        torch.testing.assert_close(told[number], model.unembed(resid)[0, -1], atol=1e-4, rtol=1e-5)
        assert int(told[number].argmax()) == found[number].token_ids[0]
