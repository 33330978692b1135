//! A model that is not here answers while it arrives. What is shown is the order of events.

use hive_api::{
    ErrorKind, Events, FetchEvent, Generated, RunEvent, RunRequest, Sampling, Visibility,
};
use hive_node::TINY_MODEL;
use hive_testnet::wait::{eventually, within};
use hive_testnet::{Lie, Mesh, Sample, TestNode, sample};

use futures::StreamExt as _;

use crate::{MIB, TestResult, mib};

const PROMPT: &str = "Once upon a time";

/// A model that runs, and behind its last weight bytes that nobody needs to run it. They stand for
/// what an answer does not need of a model: rows of a table, experts that are not asked.
fn model() -> Vec<u8> {
    let mut bytes = TINY_MODEL.to_vec();
    bytes.extend(sample::bytes(41, mib(24)));
    bytes
}

fn request(model: &str) -> RunRequest {
    RunRequest {
        max_tokens: Some(24),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        fetch: true,
        ..RunRequest::new(model, PROMPT)
    }
}

/// An answer as a test follows it.
struct Run {
    stream: Events<RunEvent>,
    events: Vec<RunEvent>,
}

impl Run {
    async fn start(node: &TestNode, request: RunRequest) -> anyhow::Result<Self> {
        let stream = within("a run to start", node.hive().run(request)).await??;
        Ok(Self { stream, events: Vec::new() })
    }

    async fn next(&mut self) -> anyhow::Result<Option<&RunEvent>> {
        let event = within("the next event of a run", self.stream.next()).await?;
        let Some(event) = event.transpose()? else { return Ok(None) };
        self.events.push(event);
        Ok(self.events.last())
    }

    /// Follows it until so many bytes of the model are here.
    async fn until_bytes(&mut self, wanted: u64) -> TestResult {
        while let Some(event) = self.next().await? {
            if let RunEvent::Fetching { progress: FetchEvent::Progress { bytes, .. } } = event
                && *bytes >= wanted
            {
                return Ok(());
            }
        }
        anyhow::bail!("it ended before: {:?}", self.events)
    }

    async fn finish(mut self) -> anyhow::Result<Answer> {
        while self.next().await?.is_some() {}
        let texts = self.events.iter().filter_map(|event| match event {
            RunEvent::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        let text = texts.collect();
        let place = |wanted: fn(&RunEvent) -> bool| self.events.iter().position(wanted);
        let done = self.events.iter().find_map(|event| match event {
            RunEvent::Done(done) => Some(*done),
            _ => None,
        });
        Ok(Answer {
            text,
            first_text: place(|event| matches!(event, RunEvent::Text { .. })),
            whole: place(|event| {
                matches!(event, RunEvent::Fetching { progress: FetchEvent::Done { .. } })
            }),
            done: done.ok_or_else(|| anyhow::anyhow!("it did not end: {:?}", self.events))?,
            events: self.events,
        })
    }
}

/// What came of it. Places are those among the events.
struct Answer {
    text: String,
    first_text: Option<usize>,
    whole: Option<usize>,
    done: Generated,
    events: Vec<RunEvent>,
}

/// What the model says where it is whole.
async fn said_by(node: &TestNode, id: &str) -> anyhow::Result<String> {
    let answer = Run::start(node, request(id)).await?.finish().await?;
    assert!(answer.whole.is_none(), "it was fetched: {:?}", answer.events);
    Ok(answer.text)
}

async fn loaded(node: &TestNode) -> usize {
    node.hive().loaded().await.map_or(0, |models| models.len())
}

/// The answer comes before the last byte, says what the whole model says, and the model is whole and
/// loaded afterwards as any other.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_before_the_bytes_that_it_does_not_need() -> TestResult {
    let mesh = Mesh::empty().await?;
    let provider = mesh.node_with(|config| config.upload_limit = Some(4_000_000)).await?;
    let id = provider.add("arriving.gguf", &model(), Visibility::Public).await?.cid;
    let expected = said_by(&provider, &id).await?;

    let reader = mesh.node().await?;
    let answer = Run::start(&reader, request(&id)).await?.finish().await?;
    assert_eq!(answer.text, expected);
    assert_eq!(answer.done.generated_tokens, 24);
    assert!(answer.first_text.is_some(), "{:?}", answer.events);
    assert_eq!(answer.whole, None, "the model was whole before its answer: {:?}", answer.events);

    let fetched = reader.fetch(&id).await?.finish().await?;
    assert!(std::fs::read(&fetched.path)? == model(), "the bytes differ");
    assert_eq!(loaded(&reader).await, 1);
    let again = Run::start(&reader, request(&id)).await?.finish().await?;
    let seconds = again.events.iter().find_map(|event| match event {
        RunEvent::Loaded { seconds, .. } => Some(*seconds),
        _ => None,
    });
    assert_eq!((again.text, seconds), (expected, Some(0.0)), "it was loaded a second time");
    Ok(())
}

/// By a name that the catalog knows, as people ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_the_catalog_is_fetched_and_answers() -> TestResult {
    let mesh = Mesh::empty().await?;
    let provider = mesh.node().await?;
    let id = provider.add("named.gguf", TINY_MODEL, Visibility::Public).await?.cid;
    let reader = mesh.node().await?;
    let offer = crate::offered(&reader, "named").await?;
    assert_eq!(offer.cid, id);
    let answer = Run::start(&reader, request(&offer.name)).await?.finish().await?;
    assert_eq!(answer.text, said_by(&provider, &id).await?);
    Ok(())
}

/// Without `fetch` a model that is not here is not found, as before.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fetched_that_was_not_asked_for() -> TestResult {
    let mesh = Mesh::empty().await?;
    let provider = mesh.node().await?;
    let id = provider.add("unasked.gguf", TINY_MODEL, Visibility::Public).await?.cid;
    let reader = mesh.node().await?;
    let request = RunRequest { fetch: false, ..request(&id) };
    let refused = reader.hive().run(request).await;
    assert_eq!(refused.err().map(|error| error.kind), Some(ErrorKind::NotFound));
    assert_eq!(provider.uploaded().await?, 0);
    Ok(())
}

/// Nothing of what a liar sends is computed with: the answer is that of the true model.
#[tokio::test(flavor = "multi_thread")]
async fn a_liar_in_the_middle_does_not_change_the_answer() -> TestResult {
    let mesh = Mesh::empty().await?;
    let sample = Sample::new(model());
    let liar = mesh.liar(Lie::After { groups: 2 }, &sample).await?;
    let provider = mesh.node_with(|config| config.upload_limit = Some(6_000_000)).await?;
    let id = provider.add("lied.gguf", sample.bytes(), Visibility::Public).await?.cid;
    let expected = said_by(&provider, &id).await?;
    let reader = mesh.stranger().await?;
    reader.connect(liar.address()).await?;
    let run = Run::start(&reader, request(&id)).await?;
    let lied = async || (liar.counters().lies() > 0).then_some(());
    eventually("a lie", liar.counters().lying(), lied).await?;
    reader.connect(&provider.address()).await?;
    let answer = run.finish().await?;
    assert_eq!(answer.text, expected);
    let is_struck = |event: &RunEvent| matches!(event, RunEvent::Fetching { progress: FetchEvent::Struck { peer, .. } } if *peer == liar.peer());
    assert!(answer.events.iter().any(is_struck), "{:?}", answer.events);
    Ok(())
}

/// What the fetch says when it breaks off is what the run says; the model is gone from memory, what
/// came stays on disk, and the next run goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_provider_leaves_says_so_and_the_next_one_goes_on() -> TestResult {
    let mesh = Mesh::empty().await?;
    let mut slow = mesh.node_with(|config| config.upload_limit = Some(600_000)).await?;
    let id = slow.add("left.gguf", TINY_MODEL, Visibility::Public).await?.cid;
    let reader = mesh
        .node_with(|config| config.provider_timeout = std::time::Duration::from_secs(5))
        .await?;
    let mut run = Run::start(&reader, request(&id)).await?;
    run.until_bytes(MIB).await?;
    slow.kill();
    let error = loop {
        match run.next().await {
            Ok(Some(_)) => {}
            Ok(None) => anyhow::bail!("it ended well: {:?}", run.events),
            Err(error) => break error,
        }
    };
    let error = error.downcast::<hive_api::HiveError>()?;
    assert!(matches!(error.kind, ErrorKind::NotFound | ErrorKind::Unreachable), "{error:?}");
    assert!(!run.events.iter().any(|event| matches!(event, RunEvent::Text { .. })));
    let let_go = async {
        while loaded(&reader).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the model to be let go", let_go).await?;

    let provider = mesh.node().await?;
    provider.add("back.gguf", TINY_MODEL, Visibility::Public).await?;
    reader.connect(&provider.address()).await?;
    let answer = Run::start(&reader, request(&id)).await?.finish().await?;
    assert_eq!(answer.text, said_by(&provider, &id).await?);
    let present = answer.events.iter().find_map(|event| match event {
        RunEvent::Fetching { progress: FetchEvent::Manifest { present, .. } } => Some(*present),
        _ => None,
    });
    assert!(present.is_some_and(|present| present >= MIB), "{present:?} bytes were kept");
    Ok(())
}

/// Who leaves before the answer ends the fetch that was for him alone; what came stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_ends_the_fetch_and_keeps_what_came() -> TestResult {
    let mesh = Mesh::empty().await?;
    let provider = mesh.node_with(|config| config.upload_limit = Some(600_000)).await?;
    let id = provider.add("cancelled.gguf", TINY_MODEL, Visibility::Public).await?.cid;
    let reader = mesh.node().await?;
    let mut run = Run::start(&reader, request(&id)).await?;
    run.until_bytes(MIB).await?;
    let mut fetch = within("the fetch", reader.hive().follow(&id)).await??;
    drop(run);
    let ended = async {
        while let Some(event) = fetch.next().await {
            if let Err(error) = event {
                return Some(error.kind);
            }
        }
        None
    };
    assert_eq!(within("the fetch to end", ended).await?, Some(ErrorKind::Interrupted));
    let here = reader.hive().list().await?;
    assert!(here.iter().any(|model| model.cid == id && model.present >= MIB), "{here:?}");
    Ok(())
}
