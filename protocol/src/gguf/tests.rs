use proptest::prelude::*;

use super::*;

/// Writes headers, honest or not.
#[derive(Clone)]
struct Writer(Vec<u8>);

impl Writer {
    fn new(version: u32, n_tensors: u64, n_values: u64) -> Self {
        Self(MAGIC.to_vec()).u32(version).u64(n_tensors).u64(n_values)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u32(self, n: u32) -> Self {
        self.bytes(&n.to_le_bytes())
    }

    fn u64(self, n: u64) -> Self {
        self.bytes(&n.to_le_bytes())
    }

    fn str(self, text: &str) -> Self {
        self.u64(text.len() as u64).bytes(text.as_bytes())
    }

    fn tensor(self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        let mut writer = self.str(name).u32(dims.len() as u32);
        for &dim in dims {
            writer = writer.u64(dim);
        }
        writer.u32(kind).u64(offset)
    }

    /// Ends the header and adds weights.
    fn weights(mut self, alignment: usize, n: usize) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(alignment) + n, 0);
        self.0
    }
}

/// A small model: two tensors, a value of each kind that matters.
fn honest() -> Vec<u8> {
    Writer::new(3, 2, 6)
        .str("general.architecture")
        .u32(8)
        .str("llama")
        .str("llama.context_length")
        .u32(4)
        .u32(512)
        .str("general.alignment")
        .u32(4)
        .u32(64)
        .str("tokenizer.ggml.tokens")
        .u32(9)
        .u32(8)
        .u64(3)
        .str("a")
        .str("")
        .str("\u{2581}b")
        .str("tokenizer.ggml.scores")
        .u32(9)
        .u32(6)
        .u64(2)
        .bytes(&1.5_f32.to_le_bytes())
        .bytes(&(-2.0_f32).to_le_bytes())
        .str("general.file_type")
        .u32(4)
        .u32(15)
        .tensor("b", &[4, 4], 0, 64)
        .tensor("a", &[8], 0, 0)
        .weights(64, 128)
}

fn whole(file: &[u8]) -> Result<Header, GgufError> {
    match parse(file, file.len() as u64)? {
        Parse::Done(header) => Ok(header),
        Parse::NeedMore { at_least } => panic!("a whole file cannot have {at_least} bytes more"),
    }
}

#[test]
fn a_header_says_what_the_file_holds() {
    let file = honest();
    let header = whole(&file).expect("it is honest");
    assert_eq!((header.version, header.alignment), (3, 64));
    assert_eq!(header.data_offset, file.len() as u64 - 128);
    assert_eq!(header.architecture(), Some("llama"));
    assert_eq!(header.context_length(), Some(512));
    assert_eq!(header.quantization(), Some("Q4_K_M"));
    assert_eq!(header.parameters(), 24);
    let tokens = header.strings("tokenizer.ggml.tokens").expect("there are tokens");
    assert_eq!(tokens.iter().collect::<Vec<_>>(), ["a", "", "\u{2581}b"]);
    assert_eq!(tokens.get(3), None);
    assert_eq!(header.array("tokenizer.ggml.scores"), Some(&Array::F32(vec![1.5, -2.0])));
    assert_eq!(header.tensor("a").and_then(TensorInfo::byte_len), Some(32));
    assert_eq!(header.tensor_starts(), [header.data_offset, header.data_offset + 64]);
}

#[test]
fn a_prefix_is_enough_once_it_holds_the_header() {
    let file = honest();
    let header = whole(&file).expect("it is honest");
    let len = file.len() as u64;
    // Padding is not read, so the header is whole a little before the weights.
    for n in 0..file.len() {
        match parse(&file[..n], len).expect("a prefix of an honest file is no error") {
            Parse::Done(found) => assert_eq!(found, header),
            Parse::NeedMore { at_least } => {
                assert!((n as u64) < at_least && at_least <= len, "{n} then {at_least}");
                assert!(n < header.data_offset as usize);
            }
        }
    }
}

#[test]
fn a_file_that_ends_in_its_header_is_refused() {
    let file = honest();
    let data_offset = whole(&file).expect("it is honest").data_offset as usize;
    for n in 0..data_offset {
        assert!(whole(&file[..n]).is_err(), "{n} bytes were taken for a file");
    }
    // A tensor must begin inside the file.
    assert_eq!(whole(&file[..data_offset + 64]), Err(GgufError::Offset { name: "b".into() }));
}

#[test]
fn a_vocabulary_without_weights_is_a_file() {
    let file = Writer::new(3, 0, 0).0;
    let header = whole(&file).expect("it is honest");
    assert_eq!(header.data_offset, file.len() as u64);
}

/// A header with one value under `k`.
fn value(kind: u32, payload: &[u8]) -> Vec<u8> {
    Writer::new(3, 0, 1).str("k").u32(kind).bytes(payload).0
}

/// A header with one array under `k`.
fn array(kind: u32, n: u64) -> Vec<u8> {
    Writer::new(3, 0, 1).str("k").u32(9).u32(kind).u64(n).0
}

/// A header with one tensor, before 64 bytes of weights.
fn tensor(dims: &[u64], offset: u64) -> Vec<u8> {
    Writer::new(3, 1, 0).tensor("t", dims, 0, offset).weights(32, 64)
}

fn alignment(n: u32) -> Vec<u8> {
    Writer::new(3, 0, 1).str("general.alignment").u32(4).u32(n).0
}

#[test]
fn hostile_headers_are_refused_by_name() {
    use GgufError as E;
    let dims = || E::Dims { name: "t".into() };
    let offset = || E::Offset { name: "t".into() };
    let too_many = |what, n, max| E::TooMany { what, n, max };
    let table: Vec<(&str, Vec<u8>, GgufError)> = vec![
        ("nothing", vec![], E::NotGguf),
        ("half a magic", b"GG".to_vec(), E::NotGguf),
        ("another format", b"PK\x03\x04 and so on".to_vec(), E::NotGguf),
        ("version 1", Writer::new(1, 0, 0).0, E::Version { version: 1 }),
        ("version 4", Writer::new(4, 0, 0).0, E::Version { version: 4 }),
        ("big-endian", Writer::new(3_u32.swap_bytes(), 0, 0).0, E::BigEndian),
        ("many tensors", Writer::new(3, 65_537, 0).0, too_many("tensors", 65_537, MAX_TENSORS)),
        ("many values", Writer::new(3, 0, 4_097).0, too_many("values", 4_097, MAX_VALUES)),
        ("all tensors", Writer::new(3, u64::MAX, 0).0, too_many("tensors", u64::MAX, MAX_TENSORS)),
        ("a type unknown", value(13, &[]), E::ValueType { key: "k".into(), kind: 13 }),
        ("arrays of arrays", array(9, 1), E::ValueType { key: "k".into(), kind: 9 }),
        ("a truth of 2", value(7, &[2]), E::BadBool { key: "k".into() }),
        ("a long string", value(8, &(MAX_STRING_LEN + 1).to_le_bytes()), {
            too_many("a string", MAX_STRING_LEN + 1, MAX_STRING_LEN)
        }),
        ("an endless string", value(8, &u64::MAX.to_le_bytes()), {
            too_many("a string", u64::MAX, MAX_STRING_LEN)
        }),
        ("a string past the end", value(8, &9_u64.to_le_bytes()), E::Truncated),
        ("not UTF-8", value(8, b"\x01\0\0\0\0\0\0\0\xff"), E::NotUtf8 { what: "a string" }),
        ("a long array", array(0, MAX_ARRAY_LEN + 1), {
            too_many("elements of an array", MAX_ARRAY_LEN + 1, MAX_ARRAY_LEN)
        }),
        ("an array past the end", array(10, 4_000_000), E::Truncated),
        ("strings past the end", array(8, 4_000_000), E::Truncated),
        ("an empty key", Writer::new(3, 0, 1).str("").u32(0).0, E::BadName { what: "a key" }),
        ("a key with a line", Writer::new(3, 0, 1).str("a\nb").u32(0).0, {
            E::BadName { what: "a key" }
        }),
        (
            "a key twice",
            Writer::new(3, 0, 2).str("k").u32(7).bytes(&[1]).str("k").u32(7).bytes(&[1]).0,
            E::Duplicate { name: "k".into() },
        ),
        (
            "a tensor twice",
            Writer::new(3, 2, 0).tensor("t", &[1], 0, 0).tensor("t", &[1], 0, 32).weights(32, 64),
            E::Duplicate { name: "t".into() },
        ),
        ("an alignment of 0", alignment(0), E::Alignment),
        ("an alignment of 4", alignment(4), E::Alignment),
        ("an alignment of 48", alignment(48), E::Alignment),
        ("an alignment of 8192", alignment(8_192), E::Alignment),
        (
            "an alignment of another type",
            Writer::new(3, 0, 1).str("general.alignment").u32(10).u64(32).0,
            E::Alignment,
        ),
        ("no dimensions", tensor(&[], 0), dims()),
        ("five dimensions", tensor(&[1; 5], 0), dims()),
        ("an empty dimension", tensor(&[4, 0], 0), dims()),
        ("a product that wraps to 0", tensor(&[1 << 32, 1 << 32], 0), dims()),
        ("a product past an i64", tensor(&[1 << 32, 1 << 31], 0), dims()),
        ("an unaligned tensor", tensor(&[1], 16), offset()),
        ("a tensor at the end", tensor(&[1], 64), offset()),
        ("a tensor far out", tensor(&[1], u64::MAX - 31), offset()),
        (
            "two tensors in one place",
            Writer::new(3, 2, 0).tensor("s", &[1], 0, 0).tensor("t", &[1], 0, 0).weights(32, 64),
            offset(),
        ),
    ];
    for (what, file, expected) in table {
        assert_eq!(whole(&file), Err(expected), "{what}");
    }
}

#[test]
fn a_header_is_never_asked_for_past_its_limit() {
    // 4,194,304 numbers of 8 bytes, three times over, are 96 MiB.
    let numbers = vec![0; 8 * MAX_ARRAY_LEN as usize];
    let mut writer = Writer::new(3, 0, 3);
    for key in ["a", "b"] {
        writer = writer.str(key).u32(9).u32(10).u64(MAX_ARRAY_LEN).bytes(&numbers);
    }
    assert_eq!(parse(&writer.0, 1 << 40), Err(GgufError::HeaderTooLong));
}

#[test]
fn a_claim_without_bytes_behind_it_asks_for_them_first() {
    let file = array(8, 4_000_000);
    let expected = Parse::NeedMore { at_least: file.len() as u64 + 32_000_000 };
    assert_eq!(parse(&file, 1 << 40), Ok(expected));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, file_len: u64) {
        let _ = parse(&bytes, file_len);
    }

    #[test]
    fn no_bytes_after_an_honest_start_make_it_panic(
        counts in (0_u64..4, 0_u64..4),
        tail in proptest::collection::vec(any::<u8>(), 0..200),
        file_len: u64,
    ) {
        let file = Writer::new(3, counts.0, counts.1).bytes(&tail).0;
        let _ = parse(&file, file_len);
    }

    #[test]
    fn a_broken_byte_is_refused_or_read_alike_from_any_prefix(
        at in 0_usize..400,
        byte: u8,
        cut in 0_usize..400,
    ) {
        let mut file = honest();
        let at = at % file.len();
        file[at] = byte;
        let len = file.len() as u64;
        let answer = parse(&file, len);
        let whole = matches!(answer, Ok(Parse::Done(_)) | Err(_));
        prop_assert!(whole, "a whole file was not enough");
        match parse(&file[..cut.min(file.len())], len) {
            Ok(Parse::NeedMore { at_least }) => {
                prop_assert!(cut < file.len() && (cut as u64) < at_least && at_least <= len);
            }
            early => prop_assert_eq!(early, answer),
        }
    }

    #[test]
    fn names_and_dimensions_come_back(
        names in proptest::collection::btree_set("[a-z0-9._]{1,40}", 1..20),
        dims in proptest::collection::vec(1_u64..1_000, 1..=4),
    ) {
        let mut writer = Writer::new(2, names.len() as u64, 0);
        for (index, name) in names.iter().enumerate() {
            writer = writer.tensor(name, &dims, 8, 32 * index as u64);
        }
        let header = whole(&writer.weights(32, 32 * names.len())).expect("it is honest");
        prop_assert!(header.tensors.iter().map(|tensor| &tensor.name).eq(&names));
        prop_assert!(header.tensors.iter().all(|tensor| tensor.dims == dims));
    }
}
