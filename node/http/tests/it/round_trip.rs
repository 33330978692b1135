//! Every method of `Hive` comes back from the other side as it went in.

use futures::StreamExt as _;
use hive_api::{
    AddRequest, ErrorKind, Events, FetchRequest, GcReport, Hive as _, HiveError, RunRequest,
    Sampling, Visibility,
};

use crate::Served;
use crate::fake::{self, BROKEN};

/// A name that has everything a query or a body could stumble over.
const AWKWARD: &str = "a/b:c@d&e=f g+h%20ä?#\"\\";

async fn all<T>(events: hive_api::Result<Events<T>>) -> Vec<T> {
    events.unwrap().map(Result::unwrap).collect().await
}

#[tokio::test]
async fn streams_arrive_event_by_event() {
    let served = Served::start().await;
    let remote = served.remote().await;

    let add = AddRequest {
        path: "/ä b/x.gguf".into(),
        name: Some("x".into()),
        visibility: Some(Visibility::Public),
        link: true,
        license: Some("MIT".into()),
    };
    assert_eq!(all(remote.add(add.clone()).await).await, fake::added());
    assert_eq!(served.hive.last_asked(), format!("{add:?}"));

    let fetch = FetchRequest {
        model: AWKWARD.into(),
        from: vec!["12D3KooWx".into()],
        to: Some("/t".into()),
        wait: true,
    };
    assert_eq!(all(remote.fetch(fetch.clone()).await).await, fake::fetched());
    assert_eq!(served.hive.last_asked(), format!("{fetch:?}"));

    let run = RunRequest {
        model: "m".into(),
        prompt: "Say \"hi\"\n".into(),
        max_tokens: 9,
        sampling: Sampling { temperature: 0.1, top_k: None, top_p: Some(0.3), seed: u64::MAX },
        stop: vec!["\n\n".into()],
        device: hive_api::Device::Cpu,
    };
    assert_eq!(all(remote.run(run.clone()).await).await, fake::ran());
    assert_eq!(served.hive.last_asked(), format!("{run:?}"));

    assert_eq!(all(remote.verify(None, true).await).await, fake::verified());
    assert_eq!(served.hive.last_asked(), "verify None true");
    assert_eq!(all(remote.verify(Some(AWKWARD), false).await).await, fake::verified());
    assert_eq!(served.hive.last_asked(), format!("verify {:?} false", Some(AWKWARD)));
}

#[tokio::test]
async fn answers_are_equal_on_both_sides() {
    let served = Served::start().await;
    let remote = served.remote().await;
    let asked = || served.hive.last_asked();

    assert_eq!(remote.list().await.unwrap(), [fake::summary(), fake::summary()]);
    assert_eq!(remote.show(AWKWARD).await.unwrap(), fake::details());
    assert_eq!(asked(), format!("show {AWKWARD}"));
    assert_eq!(remote.block("bafyr4ib").await.unwrap(), (0..=255).collect::<Vec<u8>>());
    assert_eq!(asked(), "block bafyr4ib");
    assert_eq!(remote.search(AWKWARD).await.unwrap(), fake::offers());
    assert_eq!(asked(), format!("search {AWKWARD}"));
    assert_eq!(remote.search("").await.unwrap(), fake::offers());
    assert_eq!(remote.share(AWKWARD, Visibility::Local).await.unwrap(), fake::summary());
    assert_eq!(asked(), format!("share {AWKWARD} Local"));
    assert_eq!(remote.remove(AWKWARD).await.unwrap(), u64::MAX);
    assert_eq!(asked(), format!("remove {AWKWARD}"));
    assert_eq!(remote.pin(AWKWARD, false).await.unwrap(), fake::summary());
    assert_eq!(asked(), format!("pin {AWKWARD} false"));
    remote.cancel(AWKWARD).await.unwrap();
    assert_eq!(asked(), format!("cancel {AWKWARD}"));
    let report = GcReport { models: vec!["c".into()], bytes: 5, removed: false };
    assert_eq!(remote.gc(true).await.unwrap(), report);
    assert_eq!(asked(), "gc true");
    remote.connect("/ip4/1.2.3.4/tcp/1/p2p/x").await.unwrap();
    assert_eq!(asked(), "connect /ip4/1.2.3.4/tcp/1/p2p/x");
    assert_eq!(remote.peers().await.unwrap(), fake::peers());
    assert_eq!(remote.identity().await.unwrap(), fake::identity());
    assert_eq!(remote.status().await.unwrap(), fake::status());
    remote.shutdown().await.unwrap();
    assert_eq!(asked(), "shutdown");
}

#[tokio::test]
async fn errors_keep_kind_messages_and_hint() {
    let served = Served::start().await;
    let remote = served.remote().await;
    assert_eq!(remote.show(BROKEN).await, Err(fake::failure()));

    let request = FetchRequest { model: BROKEN.into(), ..FetchRequest::default() };
    let events: Vec<_> = remote.fetch(request).await.unwrap().collect().await;
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(events[2], Err(fake::failure()));
}

#[tokio::test]
async fn answer_that_is_cut_off_is_an_error_and_not_an_end() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    // A node that dies after its first event.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = Served::start().await;
    let stands_in = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = socket.read(&mut head).await.unwrap();
        let event = "{\"event\":\"searching\",\"cid\":\"c\"}\n";
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        socket.write_all(chunk.as_bytes()).await.unwrap();
    });
    let remote = hive_http::Remote::at(address, served.home.path()).unwrap();
    let events = remote.fetch(FetchRequest::default()).await.unwrap();
    let events: Vec<Result<_, HiveError>> = events.collect().await;
    stands_in.await.unwrap();
    assert_eq!(events.len(), 2, "{events:?}");
    let error = events[1].clone().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(error.messages[0].contains("went away"), "{error}");
}
