use hive_protocol::gguf::{self, Parse};
use proptest::prelude::*;

use super::*;

fn value() -> impl Strategy<Value = Value> {
    let array = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Array::U8),
        prop::collection::vec(any::<i16>(), 0..9).prop_map(Array::I16),
        prop::collection::vec(any::<u64>(), 0..9).prop_map(Array::U64),
        prop::collection::vec(-1e9_f32..1e9, 0..9).prop_map(Array::F32),
        prop::collection::vec(any::<bool>(), 0..9).prop_map(Array::Bool),
        prop::collection::vec("\\PC{0,9}", 0..9)
            .prop_map(|texts| Array::Str(texts.iter().map(String::as_str).collect())),
    ];
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        (-1e9_f32..1e9).prop_map(Value::F32),
        (-1e9_f64..1e9).prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
        "\\PC{0,30}".prop_map(Value::Str),
        array.prop_map(Value::Array),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        values in prop::collection::btree_map("[a-z.]{1,20}", value(), 0..12),
        rows in prop::collection::vec(1_u64..9, 1..6),
    ) {
        let values: Vec<_> = values.into_iter().collect();
        let kinds = [Kind::F32, Kind::BF16, Kind::Q8_0, Kind::Q4_K, Kind::Q6_K];
        let entries: Vec<_> = rows
            .iter()
            .enumerate()
            .map(|(at, &n)| Entry {
                name: format!("t{at}"),
                dims: vec![256, n],
                kind: kinds[at % kinds.len()],
            })
            .collect();
        let (tensors, end) = lay_out(&entries).expect("rows of 256 fill any block");
        let bytes = header(&values, &tensors);
        let len = bytes.len() as u64 + end;
        let Ok(Parse::Done(read)) = gguf::parse(&bytes, len) else {
            return Err(TestCaseError::fail("the header is not read"));
        };
        prop_assert_eq!(read.metadata, values);
        prop_assert_eq!(&read.tensors, &tensors);
        prop_assert_eq!(read.data_offset, bytes.len() as u64);
    }
}

#[test]
fn every_type_that_the_protocol_knows_has_its_number() {
    for n in 0..100 {
        if let Some(kind) = Kind::from_u32(n) {
            assert_eq!(number(kind), n);
        }
    }
}

#[test]
fn rows_that_fill_no_block_are_not_laid_out() {
    let entry = Entry { name: "t".to_owned(), dims: vec![250, 2], kind: Kind::Q4_K };
    assert!(lay_out(&[entry]).is_none());
}
