//! What a `Range` header asks of a file.

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All of it. So is a header that makes no sense, and one with several ranges: RFC 9110 §14.2
    /// lets a server ignore those, and clients that ask for several cope with the whole.
    Whole,
    /// At least one byte.
    Part {
        /// The first byte.
        start: u64,
        /// How many.
        len: u64,
    },
    /// A range that has no byte of it.
    Nothing,
}

/// Reads `bytes=0-99`, `bytes=100-` and `bytes=-100`, of a file with so many bytes.
pub(crate) fn parse(header: &str, size: u64) -> Asked {
    let Some((unit, range)) = header.split_once('=') else { return Asked::Whole };
    let Some((first, last)) = range.trim().split_once('-') else { return Asked::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Asked::Whole;
    }
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => Asked::Whole,
        (Some(first), Some(last)) if first < size => {
            Asked::Part { start: first, len: last.min(size - 1) - first + 1 }
        }
        (Some(first), None) if last.is_empty() && first < size => {
            Asked::Part { start: first, len: size - first }
        }
        (None, Some(last)) if first.is_empty() && last > 0 && size > 0 => {
            let len = last.min(size);
            Asked::Part { start: size - len, len }
        }
        (Some(_), Some(_)) => Asked::Nothing,
        (Some(_), None) if last.is_empty() => Asked::Nothing,
        (None, Some(_)) if first.is_empty() => Asked::Nothing,
        _ => Asked::Whole,
    }
}

/// Digits and nothing else; more of them than a file can have bytes is past every end.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_those_of_the_rfc() {
        let part = |start, len| Asked::Part { start, len };
        for (header, asked) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-499", part(0, 100)),
            ("bytes=10-19", part(10, 10)),
            ("Bytes = 10-", part(10, 90)),
            ("bytes=-1", part(99, 1)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=99-99999999999999999999999", part(99, 1)),
            ("bytes=100-", Asked::Nothing),
            ("bytes=100-200", Asked::Nothing),
            ("bytes=99999999999999999999999-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-4", Asked::Whole),
            ("bytes=0-1,5-6", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=200-x", Asked::Whole),
            ("lines=0-1", Asked::Whole),
            ("0-1", Asked::Whole),
        ] {
            assert_eq!(parse(header, 100), asked, "{header}");
        }
        assert_eq!(parse("bytes=0-", 0), Asked::Nothing);
        assert_eq!(parse("bytes=-5", 0), Asked::Nothing);
    }

    proptest! {
        /// Whatever is written there, what is read lies within the file.
        #[test]
        fn a_part_is_never_empty_and_never_past_the_end(
            header in "(bytes=)?[0-9]{0,21}-?[0-9]{0,21},?",
            size in prop_oneof![0..200u64, Just(u64::MAX)],
        ) {
            if let Asked::Part { start, len } = parse(&header, size) {
                prop_assert!(len > 0);
                prop_assert!(start < size && len <= size - start);
            }
        }
    }
}
