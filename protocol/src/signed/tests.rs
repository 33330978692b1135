use super::*;

#[test]
fn no_byte_can_move_from_one_part_of_what_is_signed_to_the_next() {
    let all = [
        message("ab", "c", b"d"),
        message("a", "bc", b"d"),
        message("ab", "", b"cd"),
        message("abc", "", b"d"),
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(all.iter().skip(at + 1).all(|other| other != one));
    }
    assert_eq!(message("ab", "c", b"d"), b"\x02ab\x01cd");
}

#[test]
fn a_life_has_a_beginning_an_end_and_a_limit() {
    let check =
        |issued: u64, expires: u64, now: u64| Validity { issued, expires }.check(now, 100).is_ok();
    assert!(check(1000, 1100, 1000) && check(1000, 1001, 1000));
    assert!(!check(1000, 1101, 1000) && !check(1000, 1000, 1000) && !check(1000, 999, 998));
    assert!(!check(1000, 1100, 1100));
    assert!(check(u64::MAX - 1, u64::MAX, u64::MAX - 2), "no sum overflows");
}
