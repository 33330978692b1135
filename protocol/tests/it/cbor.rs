//! Writes CBOR by hand, well or badly.

/// A value, or bytes that claim to be one.
#[derive(Debug, Clone)]
pub(crate) enum Cbor {
    Int(u64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Self>),
    /// Written in the order given.
    Map(Vec<(Self, Self)>),
    /// A tag 42 around a leading zero and these bytes.
    Link(Vec<u8>),
    /// As it stands.
    Raw(Vec<u8>),
}

impl Cbor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Int(n) => head(0, *n),
            Self::Text(text) => [head(3, text.len() as u64), text.clone().into_bytes()].concat(),
            Self::Bytes(bytes) => [head(2, bytes.len() as u64), bytes.clone()].concat(),
            Self::Array(items) => {
                let n = items.len();
                let items: Vec<u8> = items.iter().flat_map(Self::encode).collect();
                [head(4, n as u64), items].concat()
            }
            Self::Map(entries) => {
                let items: Vec<u8> = entries
                    .iter()
                    .flat_map(|(key, value)| [key.encode(), value.encode()].concat())
                    .collect();
                [head(5, entries.len() as u64), items].concat()
            }
            Self::Link(cid) => {
                let bytes = [vec![0], cid.clone()].concat();
                [vec![0xd8, 42], Self::Bytes(bytes).encode()].concat()
            }
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

fn head(major: u8, n: u64) -> Vec<u8> {
    let major = major << 5;
    match n {
        0..=23 => vec![major | n as u8],
        24..=0xff => vec![major | 0x18, n as u8],
        0x100..=0xffff => [vec![major | 0x19], (n as u16).to_be_bytes().to_vec()].concat(),
        0x1_0000..=0xffff_ffff => [vec![major | 0x1a], (n as u32).to_be_bytes().to_vec()].concat(),
        _ => [vec![major | 0x1b], n.to_be_bytes().to_vec()].concat(),
    }
}

pub(crate) fn int(n: u64) -> Cbor {
    Cbor::Int(n)
}

pub(crate) fn text(text: &str) -> Cbor {
    Cbor::Text(text.to_owned())
}

pub(crate) fn array(items: impl IntoIterator<Item = Cbor>) -> Cbor {
    Cbor::Array(items.into_iter().collect())
}

pub(crate) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Cbor)>) -> Cbor {
    Cbor::Map(entries.into_iter().map(|(key, value)| (text(key), value)).collect())
}

pub(crate) fn raw(hex: &str) -> Cbor {
    Cbor::Raw(hex::decode(hex.replace(' ', "")).expect("hex"))
}
