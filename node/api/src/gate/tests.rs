#![expect(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]

use std::io::Write as _;
use std::sync::mpsc;

use super::*;

fn gate(len: u64) -> (Gate, mpsc::Receiver<Need>) {
    let (sender, needs) = mpsc::sync_channel(16);
    let hear = move |need: &Need| drop(sender.try_send(need.clone()));
    (Gate::new(len, hear), needs)
}

#[test]
fn what_touches_is_one_range() {
    let (gate, _) = gate(100);
    for range in [10..20, 40..50, 20..30, 0..5, 30..40, 5..10] {
        gate.open(range);
    }
    assert!(gate.has(&(0..50)) && !gate.has(&(0..51)) && !gate.has(&(60..61)));
    assert_eq!((gate.run_from(0), gate.run_from(45), gate.run_from(50)), (50, 5, 0));
    gate.open(45..1000);
    assert!(gate.is_whole(), "what is past the end is cut off");
    assert_eq!(gate.opened(5), [5..10, 45..100]);
}

#[test]
fn a_reader_waits_for_what_it_reads_and_says_so() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"0123456789").unwrap();
    let (gate, needs) = gate(10);
    gate.open(0..4);
    let mut reader = Gated::new(file, Some(gate.clone()));
    let mut first = [0; 4];
    reader.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"0123");
    let reading = std::thread::spawn(move || {
        let mut rest = [0; 3];
        reader.read_exact(&mut rest).map(|()| rest)
    });
    // It says what it waits for before it waits.
    assert_eq!(needs.recv().unwrap(), Need { ranges: vec![4..7], now: true });
    gate.open(6..10);
    assert!(!reading.is_finished());
    gate.open(4..6);
    assert_eq!(&reading.join().unwrap().unwrap(), b"456");
}

#[test]
fn a_reader_of_what_will_not_come_hears_why() {
    let (gate, _needs) = gate(10);
    gate.open(0..2);
    gate.fail("nobody has it");
    gate.fail("a later reason");
    let mut reader = Gated::new(tempfile::tempfile().unwrap(), Some(gate.clone()));
    let error = reader.read(&mut [0; 8]).unwrap_err();
    assert!(error.to_string().ends_with("nobody has it"), "{error}");
    assert!(gate.wait(&[0..2], Duration::ZERO).unwrap(), "what is here is here");
}

#[test]
fn patience_ends() {
    let (gate, _needs) = gate(10);
    assert!(!gate.wait(&[0..1, 3..4], Duration::ZERO).unwrap());
    gate.open(0..10);
    assert!(gate.wait(&[0..1, 3..4], Duration::ZERO).unwrap());
}

#[test]
fn who_leaves_waits_no_more_and_others_do() {
    let (gate, needs) = gate(10);
    let leave = Leave::default();
    let reader = Gated::new(tempfile::tempfile().unwrap(), Some(gate.clone()));
    let mut leaving = reader.clone().ending_with(&leave);
    let reading = std::thread::spawn(move || {
        let first = leaving.read(&mut [0; 3]).map(drop);
        (first, leaving.read(&mut [0; 3]).map(drop))
    });
    // It says what it wants, and waits.
    needs.recv().unwrap();
    gate.leave(&leave);
    let (first, second) = reading.join().unwrap();
    assert!(first.is_err() && second.is_err());
    assert!(gate.failure().is_none());
    assert!(!gate.wait(&[0..3], Duration::ZERO).unwrap(), "the others wait on");
}
