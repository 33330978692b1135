//! Logs at their loudest hold no secret, whatever is asked.

use std::io;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use hive_api::{Hive as _, PullRequest, RunRequest, Secret};
use serde_json::json;

use crate::Served;
use crate::document::endpoints;
use crate::fake::{BROKEN, BUSY, CALLER, MIRROR, MISSING};
use crate::raw::send;

/// In every text that nobody but the model and its user may see.
const CANARY: &str = "hive-canary-7f3a";

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says it with every endpoint of OpenAI's, well and badly.
async fn chat_and_embed(served: &Served) {
    for model in [MIRROR, CALLER, BROKEN, BUSY, MISSING] {
        for stream in [false, true] {
            let messages = json!([
                {"role": "system", "content": CANARY},
                {"role": "user", "content": CANARY, "name": CANARY},
                {"role": "assistant", "tool_calls": [
                    {"id": CANARY, "function": {"name": "f", "arguments": CANARY}},
                ]},
                {"role": "tool", "tool_call_id": CANARY, "content": CANARY},
            ]);
            let tools =
                json!([{"type": "function", "function": {"name": "f", "description": CANARY}}]);
            served
                .post(
                    "/v1/chat/completions",
                    &json!({
                        "model": model, "messages": messages, "stream": stream, "tools": tools,
                        "user": CANARY, "logprobs": true, "chat_template_kwargs": {"x": CANARY},
                    }),
                )
                .await;
            let text = json!({"model": model, "prompt": [CANARY], "stream": stream, "echo": true, "stop": CANARY});
            served.post("/v1/completions", &text).await;
        }
        let texts = json!({"model": model, "input": [CANARY]});
        served.post("/v1/embeddings", &texts).await;
        served.post("/hive/v1/embed", &json!({"model": model, "input": [{"text": CANARY}]})).await;
    }
    // Errors quote what is wrong to the caller, and to nobody else.
    for wrong in [
        json!({"model": MIRROR, "messages": CANARY}),
        json!({"model": MIRROR, "messages": [{"role": CANARY}]}),
        json!({"model": MIRROR, "prompt": {"x": CANARY}}),
        json!(CANARY),
    ] {
        for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/hive/v1/run"] {
            assert_eq!(served.post(path, &wrong).await.status, 400, "{wrong}");
        }
    }
}

#[test]
fn tokens_keys_and_prompts_are_never_logged() {
    let kept = Kept::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer({
            let kept = kept.clone();
            move || kept.clone()
        })
        .finish();
    // One thread, so that this subscriber hears all of it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let token = tracing::subscriber::with_default(subscriber, || {
        runtime.block_on(async {
            let served = Served::start().await;
            let (remote, token) = (served.remote().await, served.token());
            let request = RunRequest::new(MIRROR, CANARY);
            tracing::info!(?request, "asked");
            let events: Vec<_> = remote.run(request).await.unwrap().collect().await;
            tracing::info!(?events, "told");
            let pull = PullRequest { token: Some(Secret::new(CANARY)), ..PullRequest::default() };
            tracing::info!(?pull, "pulled");
            let _: Vec<_> = remote.pull(pull.clone()).await.unwrap().collect().await;
            remote.look(pull).await.unwrap();
            assert!(remote.show(BROKEN).await.is_err());
            chat_and_embed(&served).await;

            // At the door, and at every endpoint with a query and a body that nobody expects.
            for endpoint in endpoints(&served).await {
                let (path, port) = (&endpoint.path, served.port());
                let head = format!(
                    "{} {path}?prompt={CANARY}&token={token} HTTP/1.1\r\nHost: localhost:{port}\r\n\
                     Content-Type: application/json\r\nContent-Length: 36\r\nConnection: close\r\n",
                    endpoint.method,
                );
                let body = format!("{{\"secret\": \"{CANARY}\", \"q\": 1}}  ");
                for authorization in [
                    format!("Basic {token}"),
                    format!("Bearer {CANARY}"),
                    format!("Bearer {token}"),
                ] {
                    if path.ends_with("/events") && authorization.starts_with("Bearer") {
                        continue;
                    }
                    let request = format!("{head}Authorization: {authorization}\r\n\r\n{body}");
                    assert_ne!(send(port, &request).await.status, 0, "{path}");
                }
            }
            tracing::info!(?remote, server = ?served.server, "shown");
            served.server.shutdown().await;
            token
        })
    });
    let log = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("refused") && log.contains("shown"), "the log was heard: {log}");
    for secret in [token.as_str(), CANARY] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{line:?}");
    }
}
