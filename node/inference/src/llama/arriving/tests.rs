//! Models that answer while they arrive: what they say, when, and what they read of their files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::sync::{Mutex, mpsc};
use std::time::Instant;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use hive_api::{Engine as _, Gate, GenerateRequest, Part, Prompt};
use hive_protocol::gguf::Header;

use super::super::tests::{Ended, greedy, run, step};
use super::*;
use crate::testing::{FAMILIES, Tiny};

/// How long a thread that loads may take.
const DEADLINE: Duration = Duration::from_mins(1);

/// A file behind a gate, and what its reader wants of it.
struct Arriving {
    bytes: Vec<u8>,
    header: Header,
    gate: Gate,
    needs: Mutex<mpsc::Receiver<Need>>,
}

impl Arriving {
    fn new(bytes: Vec<u8>) -> Self {
        let header = crate::read_header(&mut Cursor::new(&bytes)).expect("a header").0;
        // Far more than any test hears.
        let (sender, needs) = mpsc::sync_channel(4_096);
        let hear = move |need: &Need| drop(sender.try_send(need.clone()));
        let gate = Gate::new(bytes.len() as u64, hear);
        Self { bytes, header, gate, needs: Mutex::new(needs) }
    }

    /// The bytes of the tensors whose names begin so.
    fn tensors(&self, prefix: &str) -> Vec<Range<u64>> {
        let tensors = self.header.tensors.iter().filter(|tensor| tensor.name.starts_with(prefix));
        let range = tensors.map(|tensor| {
            let start = self.header.data_offset + tensor.offset;
            start..start + tensor.byte_len().expect("a known type")
        });
        range.collect()
    }

    /// Loads it. What is not open by then is zeros on the disk, and what is opened later is written
    /// just before.
    fn load(&self) -> (Llama, File) {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(self.bytes.len() as u64).unwrap();
        self.arrive(&mut file, 0..self.header.data_offset);
        let reader = Gated::new(file.try_clone().unwrap(), Some(self.gate.clone()));
        let llama = Llama::load_arriving(reader, &EngineOptions::default()).expect("it loads");
        (llama, file)
    }

    fn arrive(&self, file: &mut File, range: Range<u64>) {
        file.seek(SeekFrom::Start(range.start)).unwrap();
        file.write_all(&self.bytes[range.start as usize..range.end as usize]).unwrap();
        self.gate.open(range);
    }

    fn arrive_all(&self, file: &mut File, ranges: Vec<Range<u64>>) {
        for range in ranges {
            self.arrive(file, range);
        }
    }
}

/// A model of a family with room for long prompts and 8-bit weights where rows are long enough.
fn tiny(family: &str) -> Tiny {
    let mut tiny = Tiny::new(family);
    tiny.set(&format!("{family}.context_length"), Value::U32(512));
    for (name, dims, kind) in &mut tiny.tensors {
        if dims.len() == 2 {
            *kind = if name.contains("attn") { GgmlDType::Q5_0 } else { GgmlDType::Q8_0 };
        }
    }
    tiny
}

/// 300 tokens, three stretches.
fn prompt() -> Prompt {
    Prompt::Tokens((0..300_u32).map(|i| 3 + i * 7 % 97).collect())
}

fn request() -> GenerateRequest {
    GenerateRequest { logprobs: Some(3), ..greedy(prompt(), 12) }
}

fn of_whole(bytes: &[u8]) -> Ended {
    let mut llama = Llama::load(Cursor::new(bytes), &EngineOptions::default()).expect("it loads");
    run(&mut llama, request())
}

/// Works until a text has ended.
fn until_ended(llama: &mut Llama, ticket: Ticket) -> Ended {
    let (mut texts, begun) = (BTreeMap::new(), Instant::now());
    loop {
        step(llama, &mut texts);
        if texts.get(&ticket).is_some_and(|text: &Ended| text.end.is_some()) {
            return texts.remove(&ticket).unwrap_or_default();
        }
        assert!(begun.elapsed() < DEADLINE, "the text does not end");
    }
}

#[test]
fn every_family_says_while_it_arrives_what_it_says_when_it_is_whole() {
    for family in FAMILIES {
        let bytes = tiny(family).file();
        let whole = of_whole(&bytes);
        let arriving = Arriving::new(bytes);
        let (mut llama, mut file) = arriving.load();
        llama.begin(1, request()).expect("it is taken in");
        let ended = std::thread::scope(|scope| {
            // In the order in which nobody reads it, and in pieces that no tensor ends with.
            scope.spawn(|| {
                let len = arriving.bytes.len() as u64;
                let pieces = (arriving.header.data_offset..len).step_by(10_007);
                for start in pieces.collect::<Vec<_>>().into_iter().rev() {
                    arriving.arrive(&mut file, start..len.min(start + 10_007));
                }
            });
            until_ended(&mut llama, 1)
        });
        assert_eq!(ended.text, whole.text, "{family}");
        assert!(ended.tokens == whole.tokens, "{family}: the same to the last bit");
        assert_eq!(ended.generated().prompt_tokens, 300);
        // From now on it is a model like any other.
        assert!(llama.wave.is_none() && llama.decoder.is_complete());
        assert!(run(&mut llama, request()).tokens.len() == whole.tokens.len());
        let loaded = Llama::load(Cursor::new(&arriving.bytes), &EngineOptions::default());
        assert_eq!(llama.info(), loaded.expect("it loads").info(), "{family}");
    }
}

/// What a model with a head of its own needs of its table is a row for each token.
#[test]
fn an_untied_model_answers_before_the_last_byte() {
    let bytes = tiny("llama").file();
    let whole = of_whole(&bytes);
    let arriving = Arriving::new(bytes);
    let (mut llama, mut file) = arriving.load();
    for prefix in ["rope_freqs", "blk.", "output"] {
        arriving.arrive_all(&mut file, arriving.tensors(prefix));
    }
    llama.begin(1, request()).expect("it is taken in");
    let table = arriving.tensors("token_embd.weight").remove(0);
    let (mut texts, mut n_rows, begun) = (BTreeMap::new(), 0_u64, Instant::now());
    let row = (table.end - table.start) / crate::testing::VOCAB as u64;
    while texts.get(&1).is_none_or(|text: &Ended| text.end.is_none()) {
        step(&mut llama, &mut texts);
        for need in arriving.needs.lock().unwrap().try_iter().filter(|need| need.now) {
            // The thread that loads waits for the table as a whole, the text for single rows.
            for range in need.ranges.into_iter().filter(|range| range.end - range.start == row) {
                assert!(table.start <= range.start && range.end <= table.end);
                n_rows += u64::from(!arriving.gate.has(&range));
                arriving.arrive(&mut file, range);
            }
        }
        assert!(begun.elapsed() < DEADLINE, "the text does not end");
    }
    assert!(texts[&1].tokens == whole.tokens, "the same to the last bit");
    assert!(!arriving.gate.is_whole(), "all of the table was asked for");
    assert!(0 < n_rows && n_rows < crate::testing::VOCAB as u64, "{n_rows} rows");
}

/// The first layers of a model whose fetch breaks off are loaded, and nothing behind them is read.
#[test]
fn a_model_that_stops_in_the_middle_is_read_as_far_as_it_came_and_says_why() {
    let arriving = Arriving::new(tiny("gemma3").file());
    let (mut llama, mut file) = arriving.load();
    for prefix in ["token_embd", "blk.0.", "blk.1.", "blk.2."] {
        arriving.arrive_all(&mut file, arriving.tensors(prefix));
    }
    llama.begin(1, request()).expect("it is taken in");
    let (mut texts, begun) = (BTreeMap::new(), Instant::now());
    while llama.wave.as_ref().is_none_or(|(_, wave)| wave.next() < 3) {
        step(&mut llama, &mut texts);
        assert!(begun.elapsed() < DEADLINE, "the layers do not load");
    }
    step(&mut llama, &mut texts);
    assert!(texts.is_empty(), "{texts:?}");
    assert_eq!(llama.wave.as_ref().map(|(_, wave)| wave.next()), Some(3), "zeros were read");

    arriving.gate.fail("everybody left");
    let failure = until_ended(&mut llama, 1).end.expect("it ended").expect_err("it cannot go on");
    assert!(failure.message.contains("everybody left"), "{failure:?}");
    // Nor can anything else: whoever holds it lets it go.
    assert_eq!(llama.failure().map(|failure| failure.kind), Some(FailureKind::Io));
    llama.begin(2, request()).expect("it is taken in");
    let other = until_ended(&mut llama, 2).end.expect("it ended").expect_err("it cannot go on");
    assert_eq!(other, failure);
}

/// A file that upsets what packs its weights.
#[test]
fn a_panic_of_the_thread_that_loads_is_told_to_who_waits_for_it() {
    let arriving = Arriving::new(tiny("llama").file());
    let config = crate::config::recognise(&arriving.header).expect("it is known");
    let decoder = Decoder::arriving(config, &candle_core::Device::Cpu, None);
    let file = tempfile::tempfile().unwrap();
    let reader = Gated::new(file, Some(arriving.gate.clone()));
    let parts = Arc::clone(decoder.parts());
    let filling = Filling::start(arriving.gate.clone(), parts, reader, |_, _| panic!("upset"));
    let filling = filling.expect("it starts");
    assert!(decoder.wait_for_layer(0, DEADLINE).is_err());
    assert_eq!(filling.failure().map(|failure| failure.kind), Some(FailureKind::Crashed));
}

#[test]
fn a_model_that_is_dropped_while_it_arrives_leaves_no_thread_behind() {
    let arriving = Arriving::new(tiny("llama").file());
    let (llama, _file) = arriving.load();
    let parts = Arc::clone(llama.decoder.parts());
    // Its thread stands before the first layer, and nothing more comes.
    drop(llama);
    assert_eq!(Arc::strong_count(&parts), 1, "somebody holds the weights");
    assert!(arriving.gate.failure().is_none(), "others may wait for the same file");
}

#[test]
fn a_text_that_waits_for_its_rows_asks_for_each_of_them_once() {
    let arriving = Arriving::new(tiny("llama").file());
    let (mut llama, mut file) = arriving.load();
    for prefix in ["rope_freqs", "blk.", "output"] {
        arriving.arrive_all(&mut file, arriving.tensors(prefix));
    }
    llama.begin(1, request()).expect("it is taken in");
    let begun = Instant::now();
    while !llama.decoder.is_complete() {
        step(&mut llama, &mut BTreeMap::new());
        assert!(begun.elapsed() < DEADLINE, "the layers do not load");
    }
    for _ in 0..4 {
        step(&mut llama, &mut BTreeMap::new());
    }
    let table = arriving.tensors("token_embd.weight").remove(0);
    let row = (table.end - table.start) / crate::testing::VOCAB as u64;
    let needs = arriving.needs.lock().unwrap();
    let mut asked = std::collections::HashSet::new();
    for range in needs.try_iter().filter(|need| need.now).flat_map(|need| need.ranges) {
        if range.end - range.start == row {
            assert!(asked.insert(range.start), "{range:?} a second time");
        }
    }
    assert!(!asked.is_empty());
}

#[test]
fn a_text_that_is_cancelled_ends_while_its_model_arrives_and_the_next_one_begins_anew() {
    let arriving = Arriving::new(tiny("qwen3").file());
    let whole = of_whole(&arriving.bytes);
    let (mut llama, mut file) = arriving.load();
    for prefix in ["token_embd", "blk.0."] {
        arriving.arrive_all(&mut file, arriving.tensors(prefix));
    }
    llama.begin(1, request()).expect("it is taken in");
    let begun = Instant::now();
    while llama.wave.as_ref().is_none_or(|(_, wave)| wave.next() < 1) {
        step(&mut llama, &mut BTreeMap::new());
        assert!(begun.elapsed() < DEADLINE, "the layer does not load");
    }
    llama.cancel(1);
    assert_eq!(until_ended(&mut llama, 1).generated().finish, hive_api::Finish::Cancelled);
    llama.begin(2, request()).expect("it is taken in");
    let len = arriving.bytes.len() as u64;
    arriving.arrive(&mut file, 0..len);
    assert!(until_ended(&mut llama, 2).tokens == whole.tokens);
}

#[test]
fn a_header_that_has_not_come_is_waited_for_and_nothing_else() {
    let arriving = Arriving::new(tiny("mistral").file());
    let end = arriving.header.data_offset;
    let mut file = tempfile::tempfile().unwrap();
    file.set_len(arriving.bytes.len() as u64).unwrap();
    let part = Part {
        path: "m.gguf".to_owned(),
        file: file.try_clone().unwrap(),
        gate: Some(arriving.gate.clone()),
    };
    let loading =
        std::thread::spawn(move || crate::load(vec![part], &EngineOptions::default()).map(drop));
    let needs = arriving.needs.lock().unwrap();
    let first = needs.recv().unwrap();
    assert!(first.now && first.ranges == std::slice::from_ref(&(0..24)), "{first:?}");
    arriving.arrive(&mut file, 0..end);
    let order = needs.iter().find(|need| !need.now).expect("it says what it will read");
    assert_eq!(order.ranges, crate::order_of_need(&arriving.header));
    loading.join().unwrap().expect("it is loaded with nothing but its header");
}

#[test]
fn the_order_of_need_has_every_tensor_once_and_the_table_where_it_is_needed() {
    for (family, is_tied) in [("gemma3", true), ("llama", false)] {
        let arriving = Arriving::new(tiny(family).file());
        let order = crate::order_of_need(&arriving.header);
        assert_eq!(order[0], 0..arriving.header.data_offset);
        let position = |prefix: &str| {
            let range = &arriving.tensors(prefix)[0];
            let mut found = order
                .iter()
                .enumerate()
                .filter(|(_, other)| other.start <= range.start && range.end <= other.end);
            let at = found.next().expect("it is there").0;
            assert!(found.next().is_none(), "`{prefix}` twice");
            at
        };
        let layers: Vec<usize> =
            (0..crate::testing::LAYERS).map(|layer| position(&format!("blk.{layer}."))).collect();
        assert!(layers.is_sorted_by(|a, b| a < b), "{layers:?}");
        assert!(layers[0] > 0 && layers.iter().all(|&layer| layer < position("output_norm")));
        assert_eq!(position("token_embd") < layers[0], is_tied);
        assert_eq!(position("token_embd") == order.len() - 1, !is_tied);
    }
}
