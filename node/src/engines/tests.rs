//! The registry over an engine that says one word at each step, for as long as it is let.

use std::collections::VecDeque;
use std::path::PathBuf;

use futures::{StreamExt as _, future};
use hive_api::{
    Embedded, Engine, EngineError, Finish, GenerateRequest, Generated, ModelInfo, ModelKind,
    Output, Part, Piece, Prompt, Ticket,
};
use hive_worker::{Answer, Backend};
use tempfile::TempDir;

use super::*;

const MIB: u64 = 1 << 20;

/// Two places; ends each text after `max_tokens` words; the prompt `crash` makes it panic.
struct Words {
    info: ModelInfo,
    texts: VecDeque<(Ticket, Option<u32>, bool)>,
}

impl Engine for Words {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn free(&self) -> usize {
        2 - self.texts.len()
    }

    fn begin(
        &mut self,
        ticket: Ticket,
        request: GenerateRequest,
    ) -> std::result::Result<(), EngineError> {
        assert!(self.free() > 0);
        assert!(request.prompt != Prompt::Text("crash".into()), "the fault that the test is about");
        self.texts.push_back((ticket, request.max_tokens, false));
        Ok(())
    }

    fn cancel(&mut self, ticket: Ticket) {
        self.texts.iter_mut().filter(|text| text.0 == ticket).for_each(|text| text.2 = true);
    }

    fn step(&mut self, outputs: &mut Vec<(Ticket, Output)>) {
        // A text without an end must not keep a core busy while a test looks elsewhere.
        std::thread::yield_now();
        self.texts.retain_mut(|(ticket, left, cancelled)| {
            let finish = match left {
                _ if *cancelled => Finish::Cancelled,
                Some(0) => Finish::Length,
                left => {
                    *left = left.map(|left| left - 1);
                    let piece = Piece { text: "x".into(), tokens: Vec::new() };
                    outputs.push((*ticket, Output::Piece(piece)));
                    return true;
                }
            };
            let done = Generated {
                finish,
                prompt_tokens: 1,
                cached_tokens: 0,
                generated_tokens: 1,
                prompt_seconds: 0.0,
                generate_seconds: 0.0,
            };
            outputs.push((*ticket, Output::Done(done)));
            false
        });
    }

    fn embed(&mut self, _: &[Prompt]) -> std::result::Result<Embedded, EngineError> {
        Err(EngineError::Unsupported { reason: "it says words".into() })
    }
}

fn words() -> Backend {
    let load = |_: Vec<Part>, _: &EngineOptions| {
        let info = ModelInfo {
            architecture: "words".into(),
            name: None,
            kind: ModelKind::Generate,
            template: None,
            parameters: 1,
            context_length: 100,
            width: 1,
            vocab_size: 1,
            weight_bytes: 1,
            bytes_per_token: 0,
        };
        Ok(Box::new(Words { info, texts: VecDeque::new() }) as Box<dyn Engine>)
    };
    Backend { load: Arc::new(load), quantize: Arc::new(|_, _, _, _| unreachable!()) }
}

/// A registry with a store and files of its own.
struct Bench {
    engines: Engines,
    tasks: TaskTracker,
    stop: CancellationToken,
    dir: TempDir,
}

impl Bench {
    fn new(memory: Option<u64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("home"), hive_store::Options::default()).unwrap();
        let settings =
            Settings { keep_alive: Some(Duration::from_mins(5)), memory, places: 2, queue: 3 };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let program = Program::InThisProcess(words());
        let engines = Engines::with(program, settings, store, tasks.clone(), stop.clone());
        tasks.spawn(engines.clone().watch());
        Self { engines, tasks, stop, dir }
    }

    /// A model that is a file of so many bytes, none of which are on the disk.
    fn model(&self, name: &str, len: u64) -> Source {
        let path: PathBuf = self.dir.path().join(name);
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(len).unwrap();
        find(&self.engines.0.store, path.to_str().unwrap()).unwrap()
    }

    async fn lease(&self, source: &Source, keep_alive: Option<f64>) -> Result<Lease> {
        self.engines.enter(source, Device::Cpu, keep_alive)?.wait(async |_| ()).await
    }

    /// Begins a text that goes on until it is dropped.
    async fn endless(&self, source: &Source) -> (Lease, Answer) {
        let mut lease = self.lease(source, None).await.unwrap();
        let place = lease.take_place().unwrap();
        let answer = lease.model().worker.begin(place, GenerateRequest::new("x")).await.unwrap();
        (lease, answer)
    }

    /// Has a text of three words made; says how many came.
    async fn run(&self, source: &Source, prompt: &str) -> Result<usize> {
        let mut lease = self.lease(source, None).await?;
        let place = lease.take_place()?;
        let mut request = GenerateRequest::new(prompt);
        request.max_tokens = Some(3);
        let answer = lease.model().worker.begin(place, request).await;
        let answer = answer.map_err(|failure| lease.error(&failure))?;
        let outputs: Vec<_> = answer.collect().await;
        lease.answered().await;
        match outputs.last() {
            Some(Output::Done(_)) => {}
            Some(Output::Failed(failure)) => return Err(lease.error(failure)),
            other => panic!("{other:?}"),
        }
        let words = outputs.iter().map(|output| match output {
            Output::Piece(piece) => piece.text.len(),
            _ => 0,
        });
        Ok(words.sum())
    }

    fn names(&self) -> Vec<String> {
        let name =
            |model: LoadedModel| model.name.rsplit('/').next().unwrap_or_default().to_owned();
        self.engines.loaded().into_iter().map(name).collect()
    }

    /// Waits until the registry looks as it should; the test's own time limit bounds it.
    async fn until(&self, done: impl Fn(&[LoadedModel]) -> bool) {
        while !done(&self.engines.loaded()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[tokio::test]
async fn those_who_ask_at_the_same_time_share_one_load() {
    let bench = Bench::new(None);
    let model = bench.model("m", 1);
    // Two have a place after the load, three wait for one.
    let runs = future::join_all((0..5).map(|_| bench.run(&model, "x"))).await;
    assert!(runs.iter().all(Result::is_ok));
    let figures = bench.engines.figures();
    assert_eq!((figures.loads, figures.loaded, figures.active, figures.queued), (1, 1, 0, 0));
    assert_eq!(figures.load_seconds.count(), 1);
    bench.end().await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_reader_who_leaves_makes_room() {
    let bench = Bench::new(None);
    let model = bench.model("m", 1);
    let first = bench.endless(&model).await;
    let _second = bench.endless(&model).await;
    let enter = || bench.engines.enter(&model, Device::Cpu, None);
    let mut queue: VecDeque<_> = (0..3).map(|_| enter().unwrap()).collect();
    assert_eq!(bench.engines.loaded()[0].queued, 3);
    let error = enter().err().unwrap();
    assert_eq!(error.kind, ErrorKind::Busy);
    assert!(error.hint.is_some());
    assert_eq!(bench.engines.figures().refused, 1);

    let told = std::cell::Cell::new(None);
    let waits = queue.pop_front().unwrap().wait(async |before| told.set(Some(before)));
    let leaves = async {
        tokio::task::yield_now().await;
        drop(first);
    };
    let (lease, ()) = future::join(waits, leaves).await;
    assert_eq!(told.get(), Some(0), "nobody was before it");
    assert!(enter().is_ok(), "there is room in the queue again");
    drop(lease);
    bench.end().await;
}

#[tokio::test]
async fn those_who_come_at_once_to_a_loaded_model_get_its_places_and_its_queue() {
    let bench = Bench::new(None);
    let model = bench.model("m", 1);
    bench.run(&model, "x").await.unwrap();
    let enter = || bench.engines.enter(&model, Device::Cpu, None);
    let let_in: Vec<_> = (0..5).map(|_| enter().unwrap()).collect();
    assert_eq!(enter().err().unwrap().kind, ErrorKind::Busy);
    drop(let_in);
    assert!(enter().is_ok());
    bench.end().await;
}

#[tokio::test]
async fn a_model_goes_when_its_time_is_over_and_not_before() {
    let bench = Bench::new(None);
    let model = bench.model("m", 1);
    bench.run(&model, "x").await.unwrap();
    let expires = bench.engines.loaded()[0].expires.unwrap();
    assert!((299.0..=300.0).contains(&expires), "{expires}");
    let asked = Instant::now();
    drop(bench.lease(&model, Some(0.2)).await.unwrap());
    bench.until(<[LoadedModel]>::is_empty).await;
    assert!(asked.elapsed() >= Duration::from_millis(200), "{:?}", asked.elapsed());
    bench.end().await;
}

#[tokio::test]
async fn a_request_says_how_long_the_model_stays() {
    let bench = Bench::new(None);
    let model = bench.model("m", 1);
    drop(bench.lease(&model, Some(-1.0)).await.unwrap());
    assert_eq!(bench.engines.loaded()[0].expires, None, "for ever");
    drop(bench.lease(&model, Some(1000.0)).await.unwrap());
    assert!(bench.engines.loaded()[0].expires.unwrap() > 990.0);
    drop(bench.lease(&model, Some(0.0)).await.unwrap());
    bench.until(<[LoadedModel]>::is_empty).await;
    bench.end().await;
}

#[tokio::test]
async fn the_least_recently_used_model_goes_for_another_and_a_busy_one_never_does() {
    // Each takes 96 MiB and what its file has.
    let bench = Bench::new(Some(250 * MIB));
    let [a, b, c] = ["a", "b", "c"].map(|name| bench.model(name, 20 * MIB));
    bench.run(&a, "x").await.unwrap();
    bench.run(&b, "x").await.unwrap();
    bench.run(&a, "x").await.unwrap();
    bench.run(&c, "x").await.unwrap();
    assert_eq!(bench.names(), ["a", "c"], "b was used before a");
    assert_eq!(bench.engines.figures().evictions, 1);

    let busy = bench.endless(&a).await;
    bench.run(&b, "x").await.unwrap();
    assert_eq!(bench.names(), ["a", "b"]);
    let also_busy = bench.endless(&b).await;
    let error = bench.run(&c, "x").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy, "{error}");
    drop(busy);
    bench.until(|loaded| loaded[0].active == 0).await;
    bench.run(&c, "x").await.unwrap();
    assert_eq!(bench.names(), ["b", "c"]);
    drop(also_busy);
    bench.end().await;
}

#[tokio::test]
async fn what_can_never_fit_evicts_nobody_and_says_what_to_do() {
    let bench = Bench::new(Some(250 * MIB));
    let (small, large) = (bench.model("small", 1), bench.model("large", 1000 * MIB));
    bench.run(&small, "x").await.unwrap();
    let error = bench.run(&large, "x").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace);
    assert!(error.to_string().contains("needs about 1196 MiB of memory"), "{error}");
    assert!(error.hint.is_some_and(|hint| hint.contains("quantisation")));
    assert_eq!(bench.names(), ["small"]);
    bench.end().await;
}

#[tokio::test]
async fn a_model_that_crashed_twice_is_refused_until_it_is_forgiven() {
    let bench = Bench::new(None);
    let model = bench.model("m", 1);
    for crashes in 1..=2 {
        let error = bench.run(&model, "crash").await.unwrap_err();
        assert!(error.to_string().contains("ended"), "{error}");
        // No pause: whoever comes next waits until the crash has been noted.
        if crashes == 1 {
            assert_eq!(bench.run(&model, "x").await, Ok(3));
        }
    }
    let error = bench.run(&model, "x").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.hint.is_some_and(|hint| hint.contains("hive ps --unload")));
    assert!(bench.engines.unload(&model.name, None).await.unwrap());
    assert_eq!(bench.run(&model, "x").await, Ok(3));
    bench.end().await;
}

#[tokio::test]
async fn a_model_that_runs_well_has_its_crash_forgotten() {
    let bench = Bench::new(None);
    let model = bench.model("m", 1);
    let store = bench.engines.0.store.clone();
    quarantine::note(&store, &model.bytes, "it crashed").unwrap();
    for _ in 0..quarantine::WELL {
        bench.run(&model, "x").await.unwrap();
    }
    assert!(!quarantine::forgive(&store, &model.bytes).unwrap(), "nothing is left to forgive");
    quarantine::note(&store, &model.bytes, "it crashed").unwrap();
    assert!(quarantine::check(&store, &model.bytes, &model).is_ok());
    bench.end().await;
}

#[tokio::test]
async fn the_end_of_the_node_is_the_end_of_its_models() {
    let bench = Bench::new(None);
    let model = bench.model("m", 1);
    let (lease, answer) = bench.endless(&model).await;
    bench.stop.cancel();
    bench.tasks.close();
    bench.tasks.wait().await;
    let last = answer.fold(None, async |_, output| Some(output)).await;
    assert!(matches!(last, Some(Output::Failed(_))), "{last:?}");
    assert_eq!(bench.engines.loaded(), []);
    drop(lease);
}
