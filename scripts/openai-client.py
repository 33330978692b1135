"""Drives a hive node with the unmodified `openai` package from PyPI.

Usage: openai-client.py BASE_URL TOKEN MODEL [EMBEDDING_MODEL]

Every check that fails says so and ends with status 1. Nothing here depends on what the model says,
only on the form of it, so a tiny model does.
"""

import json
import math
import sys

import openai
from jsonschema import validate

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "warm": {"type": "boolean"},
    },
    "required": ["city", "warm"],
    "additionalProperties": False,
}

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather of a city.",
        "parameters": SCHEMA,
    },
}

SAY_HI = [{"role": "user", "content": "Say hi."}]


def lists(client, model, _):
    models = {listed.id: listed for listed in client.models.list()}
    assert model in models, f"{model} is not among {sorted(models)}"
    one = client.models.retrieve(model)
    assert one.id == model and one.object == "model"
    by_cid = client.models.retrieve(one.cid)
    assert by_cid.cid == one.cid and by_cid.size == one.size > 0


def chats(client, model, _):
    ask = lambda: client.chat.completions.create(
        model=model, messages=SAY_HI, max_completion_tokens=8, seed=7, temperature=0.5
    )
    first, second = ask(), ask()
    choice = first.choices[0]
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length")
    assert first.usage.completion_tokens <= 8 and first.usage.prompt_tokens > 0
    assert first.system_fingerprint == second.system_fingerprint
    assert choice.message.content == second.choices[0].message.content, "the seed decides"


def streams(client, model, _):
    settings = dict(model=model, messages=SAY_HI, max_completion_tokens=8, temperature=0)
    whole = client.chat.completions.create(**settings)
    chunks = list(
        client.chat.completions.create(
            stream=True, stream_options={"include_usage": True}, **settings
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == (whole.choices[0].message.content or ""), "in pieces it is the same"
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == whole.usage.total_tokens


def cancels(client, model, _):
    with client.chat.completions.create(
        model=model, messages=SAY_HI, max_completion_tokens=4096, stream=True
    ) as stream:
        next(iter(stream))
    # A place that the abandoned answer kept would hold this up.
    client.chat.completions.create(model=model, messages=SAY_HI, max_completion_tokens=1)


def several(client, model, _):
    answer = client.chat.completions.create(
        model=model, messages=SAY_HI, max_completion_tokens=4, n=2, seed=1
    )
    assert [choice.index for choice in answer.choices] == [0, 1]


def logprobs(client, model, _):
    answer = client.chat.completions.create(
        model=model, messages=SAY_HI, max_completion_tokens=4, logprobs=True, top_logprobs=3
    )
    tokens = answer.choices[0].logprobs.content
    assert 0 < len(tokens) <= 4
    for token in tokens:
        assert token.logprob <= 0 and token.bytes is not None
        top = [other.logprob for other in token.top_logprobs]
        assert len(top) == 3 and top == sorted(top, reverse=True)
    text = client.completions.create(model=model, prompt="Hi", max_tokens=4, logprobs=2)
    said = text.choices[0].logprobs
    assert len(said.tokens) == len(said.token_logprobs) == len(said.text_offset) > 0
    assert said.text_offset == sorted(said.text_offset) and said.text_offset[0] == 0


def forms(client, model, _):
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Describe Bern."}],
        max_completion_tokens=120,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "city", "schema": SCHEMA, "strict": True},
        },
    )
    assert answer.choices[0].finish_reason == "stop", answer.choices[0]
    validate(json.loads(answer.choices[0].message.content), SCHEMA)


def tools(client, model, _):
    settings = dict(
        model=model,
        messages=[{"role": "user", "content": "What is the weather in Bern?"}],
        tools=[TOOL],
        tool_choice="required",
        max_completion_tokens=200,
        temperature=0,
    )
    answer = client.chat.completions.create(**settings)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls", choice
    call = choice.message.tool_calls[0]
    assert call.function.name == "weather" and call.id
    validate(json.loads(call.function.arguments), SCHEMA)

    arguments = ""
    for chunk in client.chat.completions.create(stream=True, **settings):
        for piece in chunk.choices[0].delta.tool_calls or []:
            if piece.index == 0:
                arguments += piece.function.arguments or ""
    assert json.loads(arguments) == json.loads(call.function.arguments)

    # The answer of the tool goes back, and the chat goes on.
    turns = settings["messages"] + [
        choice.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "rain"},
    ]
    client.chat.completions.create(
        model=model, messages=turns, tools=[TOOL], max_completion_tokens=4
    )


def errors(client, model, _):
    try:
        client.chat.completions.create(model="no-such-model", messages=SAY_HI)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found" and "hive fetch" in error.message, error
    else:
        raise AssertionError("a model that is not here answered")
    try:
        client.chat.completions.create(model=model, messages=SAY_HI, temperature=9)
    except openai.BadRequestError as error:
        assert error.param == "temperature", error
    else:
        raise AssertionError("a temperature of 9 was taken")
    stranger = openai.OpenAI(base_url=client.base_url, api_key="wrong", max_retries=0)
    try:
        stranger.models.list()
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key", error
    else:
        raise AssertionError("a wrong token was let in")


def embeds(client, _, model):
    texts = ["a bee", "a hive of bees", "the price of steel"]
    # The client asks for base64 unless told otherwise, and unpacks it.
    packed = client.embeddings.create(model=model, input=texts)
    plain = client.embeddings.create(model=model, input=texts, encoding_format="float")
    for one, other in zip(packed.data, plain.data):
        assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(one.embedding, other.embedding))
        assert math.isclose(sum(x * x for x in one.embedding), 1, rel_tol=1e-3)
    short = client.embeddings.create(model=model, input=texts[0], dimensions=32)
    assert len(short.data[0].embedding) == 32


CHECKS = [lists, chats, streams, cancels, several, logprobs, forms, tools, errors]


def main():
    base_url, token, model, *rest = sys.argv[1:]
    client = openai.OpenAI(base_url=base_url, api_key=token, max_retries=0, timeout=300)
    failed = 0
    for check in CHECKS + ([embeds] if rest else []):
        try:
            check(client, model, rest[0] if rest else None)
            print(f"ok    {check.__name__}")
        except Exception as error:  # Each check is told of, whatever happened to the one before.
            failed += 1
            print(f"FAIL  {check.__name__}: {type(error).__name__}: {error}")
    print(f"openai {openai.__version__}: {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
