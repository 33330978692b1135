use super::*;

/// What is shown when bytes come in pieces, and whether it was stopped.
fn run(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, bool) {
    let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
    let mut output = Output::new(&stops);
    let mut shown = Vec::new();
    for piece in pieces {
        match output.push(piece) {
            Added::Text(text) => shown.push(text),
            Added::Stopped(text) => {
                shown.push(text);
                return (shown, true);
            }
        }
    }
    shown.push(output.finish());
    (shown, false)
}

#[test]
fn a_character_is_shown_when_it_is_whole() {
    let (shown, _) = run(&[], &[b"a\xe2", b"\x82", b"\xac!", b"\xf0\x9f", b"\x90\x9d"]);
    assert_eq!(shown, ["a", "", "\u{20ac}!", "", "\u{1f41d}", ""]);
}

#[test]
fn bytes_that_never_become_a_character_do_not_hold_up_the_rest() {
    let (shown, _) = run(&[], &[b"\xff", b"\xe2", b"a", b"\xe2\x82"]);
    assert_eq!(shown, ["\u{fffd}", "", "\u{fffd}a", "", "\u{fffd}"]);
}

#[test]
fn nothing_of_a_stop_string_is_shown() {
    let (shown, stopped) = run(&["\n\nUser:"], &[b"Hi", b"\n", b"\nUs", b"er: bye"]);
    assert!(stopped);
    assert_eq!(shown.concat(), "Hi");
}

#[test]
fn what_only_began_like_a_stop_string_is_shown() {
    let (shown, stopped) = run(&["abcd", "bx"], &[b"ab", b"c", b"ab", b"y"]);
    assert!(!stopped);
    assert_eq!(shown, ["", "", "abc", "aby", ""]);
}

#[test]
fn the_first_of_several_stop_strings_ends_it() {
    let (shown, stopped) = run(&["world", "lo"], &[b"hello world"]);
    assert!(stopped);
    assert_eq!(shown.concat(), "hel");
}

#[test]
fn an_empty_stop_string_stops_nothing() {
    assert_eq!(run(&[""], &[b"abc"]), (vec!["abc".to_owned(), String::new()], false));
}
