//! Logs at their loudest hold no secret.

use std::io;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use hive_api::{Hive as _, RunRequest, Sampling};

use crate::Served;
use crate::fake::BROKEN;
use crate::raw::send;

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

#[test]
fn token_and_prompt_are_never_logged() {
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
    let secrets = tracing::subscriber::with_default(subscriber, || {
        runtime.block_on(async {
            let served = Served::start().await;
            let remote = served.remote().await;
            let prompt = "my secret prompt".to_owned();
            let request = RunRequest {
                model: "m".into(),
                prompt: prompt.clone(),
                max_tokens: 1,
                sampling: Sampling::default(),
                stop: vec![],
                device: hive_api::Device::Cpu,
            };
            let _: Vec<_> = remote.run(request).await.unwrap().collect().await;
            assert!(remote.show(BROKEN).await.is_err());
            let token = served.token();
            let wrong = format!(
                "GET /hive/v1/models?token={token} HTTP/1.1\r\nHost: localhost:{}\r\n\
                 Authorization: Basic {token}\r\nConnection: close\r\n\r\n",
                served.port()
            );
            assert_eq!(send(served.port(), &wrong).await.status, 401);
            tracing::info!(?remote, server = ?served.server, "shown");
            served.server.shutdown().await;
            [token, prompt]
        })
    });
    let log = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("refused") && log.contains("shown"), "the log was heard: {log}");
    for secret in secrets {
        assert!(!log.contains(&secret), "{log}");
    }
}
