//! Every method of `Hive` comes back from the other side as it went in.

use futures::StreamExt as _;
use hive_api::{
    AddRequest, Chat, EmbedRequest, ErrorKind, Events, FetchRequest, Format, GcReport, Hive as _,
    HiveError, Message, Prompt, PullRequest, Quantization, QuantizeRequest, ReadRequest, Role,
    RunRequest, Sampling, SearchRequest, Secret, ToolChoice, Visibility,
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
        relay_bulk: Some(u64::MAX),
    };
    assert_eq!(all(remote.fetch(fetch.clone()).await).await, fake::fetched());
    assert_eq!(served.hive.last_asked(), format!("{fetch:?}"));

    let run = RunRequest {
        prompt: Prompt::Chat(Chat {
            messages: vec![Message::new(Role::User, "Say \"hi\"\n")],
            tool_choice: ToolChoice::Named("f".into()),
            ..Chat::default()
        }),
        max_tokens: Some(9),
        sampling: Sampling { temperature: 0.1, seed: u64::MAX, ..Sampling::default() },
        stop: vec!["\n\n".into()],
        logprobs: Some(2),
        format: Some(Format::Regex("a+".into())),
        keep_alive: Some(0.5),
        ..RunRequest::new("m", "")
    };
    assert_eq!(all(remote.run(run.clone()).await).await, fake::ran());
    assert_eq!(served.hive.last_run(), run);

    let pull = PullRequest {
        source: "hf:a/b".into(),
        token: Some(Secret::new("hive-canary")),
        ..PullRequest::default()
    };
    assert_eq!(all(remote.pull(pull.clone()).await).await, fake::pulled());
    assert_eq!(served.hive.last_asked(), format!("pull {pull:?}"));
    assert_eq!(remote.look(pull.clone()).await.unwrap(), fake::listing());
    assert_eq!(served.hive.last_asked(), format!("look {pull:?}"));

    let quantize =
        QuantizeRequest { model: AWKWARD.into(), to: Quantization::Q4K, name: Some("x".into()) };
    assert_eq!(all(remote.quantize(quantize.clone()).await).await, fake::quantized());
    assert_eq!(served.hive.last_asked(), format!("{quantize:?}"));

    assert_eq!(all(remote.follow(AWKWARD).await).await, fake::fetched());
    assert_eq!(served.hive.last_asked(), format!("follow {AWKWARD}"));
    let broken: Vec<_> = remote.follow(BROKEN).await.unwrap().collect().await;
    assert_eq!(broken, [Err(fake::failure())]);

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

    assert_eq!(remote.list().await.unwrap(), fake::models());
    assert_eq!(remote.show(AWKWARD).await.unwrap(), fake::details());
    assert_eq!(asked(), format!("show {AWKWARD}"));
    assert_eq!(remote.block("bafyr4ib").await.unwrap(), (0..=255).collect::<Vec<u8>>());
    assert_eq!(asked(), "block bafyr4ib");
    let search = SearchRequest {
        text: AWKWARD.into(),
        kind: Some("model".into()),
        max_size: Some(u64::MAX),
        fits: true,
        refresh: true,
    };
    for search in [search, SearchRequest::default()] {
        assert_eq!(remote.search(search.clone()).await.unwrap(), fake::offers());
        assert_eq!(asked(), format!("{search:?}"));
    }
    assert_eq!(remote.discover().await.unwrap(), fake::discovered());
    assert_eq!(remote.loaded().await.unwrap(), fake::loaded());
    remote.unload(AWKWARD).await.unwrap();
    assert_eq!(asked(), format!("unload {AWKWARD}"));
    let embed = EmbedRequest {
        model: AWKWARD.into(),
        input: vec!["a".into(), Prompt::Tokens(vec![1, 2])],
        dimensions: Some(3),
        keep_alive: None,
    };
    assert_eq!(remote.embed(embed.clone()).await.unwrap(), fake::embeddings(2));
    assert_eq!(asked(), format!("{embed:?}"));
    assert_eq!(remote.metrics().await.unwrap(), fake::FIGURES);
    assert_eq!(remote.share(AWKWARD, Visibility::Local).await.unwrap(), fake::summary());
    assert_eq!(asked(), format!("share {AWKWARD} Local"));
    assert_eq!(remote.remove(AWKWARD).await.unwrap(), u64::MAX);
    assert_eq!(asked(), format!("remove {AWKWARD}"));
    assert_eq!(remote.pin(AWKWARD, false).await.unwrap(), fake::summary());
    assert_eq!(asked(), format!("pin {AWKWARD} false"));
    remote.cancel(AWKWARD).await.unwrap();
    assert_eq!(asked(), format!("cancel {AWKWARD}"));
    let report = GcReport {
        models: vec!["c".into()],
        downloads: vec!["hf:a/b".into()],
        bytes: 5,
        removed: false,
    };
    assert_eq!(remote.gc(true).await.unwrap(), report);
    assert_eq!(asked(), "gc true");
    remote.connect("/ip4/1.2.3.4/tcp/1/p2p/x").await.unwrap();
    assert_eq!(asked(), "connect /ip4/1.2.3.4/tcp/1/p2p/x");
    assert_eq!(remote.peers().await.unwrap(), fake::peers());
    assert_eq!(remote.identity().await.unwrap(), fake::identity());
    assert_eq!(remote.doctor().await.unwrap(), fake::diagnosis());
    let status = hive_api::Status { fetches: vec![], ..fake::status() };
    let told = remote.status().await.unwrap();
    assert_eq!(hive_api::Status { fetches: vec![], ..told }, status);
    remote.shutdown().await.unwrap();
    assert_eq!(asked(), "shutdown");
}

#[tokio::test]
async fn bytes_of_a_file_arrive_with_what_they_are() {
    let served = Served::start().await;
    let remote = served.remote().await;
    let all = fake::file_bytes();
    for (start, len) in [(0, None), (5, Some(20_000)), (299_999, None), (7, Some(0))] {
        let request = ReadRequest { model: AWKWARD.into(), file: Some("ä&b".into()), start, len };
        let reading = remote.read(request.clone()).await.unwrap();
        assert_eq!(served.hive.last_asked(), format!("{request:?}"));
        let end = len.map_or(all.len(), |len| (start + len) as usize);
        assert_eq!((reading.file, reading.start), (fake::file(), start));
        assert_eq!(reading.len, end as u64 - start);
        let bytes: Vec<_> = reading.bytes.map(Result::unwrap).collect::<Vec<_>>().await.concat();
        assert!(bytes == all[start as usize..end], "{start} {len:?}");
    }
    // One that turns out to be damaged does not look whole.
    let request = ReadRequest { model: BROKEN.into(), ..ReadRequest::default() };
    let pieces: Vec<_> = remote.read(request).await.unwrap().bytes.collect().await;
    assert!(pieces.last().unwrap().is_err());
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
