use hive_api::{Finish, GenerateRequest, Generated, Output, Piece, Prompt, Sampling, TokenLogprob};
use proptest::prelude::*;

use super::*;
use crate::message::{Order, Report};

fn again<M: Serialize + DeserializeOwned>(ticket: Ticket, message: &M) -> (Ticket, M) {
    let bytes = encode(ticket, message).unwrap();
    let frame = read(&mut bytes.as_slice()).unwrap().unwrap();
    (frame.ticket, frame.decode().unwrap())
}

/// JSON would say `null`, and a reader of `null` would call the child broken.
#[test]
fn infinities_survive() {
    let token = |logprob| TokenLogprob { token: 7, bytes: vec![0xff], logprob, top: Vec::new() };
    let tokens = vec![token(f32::NEG_INFINITY), token(f32::INFINITY), token(-0.25)];
    let piece = Output::Piece(Piece { text: "é".into(), tokens });
    let (ticket, back) = again(u64::MAX, &Report::Output(piece.clone()));
    assert_eq!(ticket, u64::MAX);
    assert!(matches!(back, Report::Output(output) if output == piece));
}

#[test]
fn a_request_with_everything_survives() {
    let schema = serde_json::json!({"type": "object", "x": [null, true, -1.5, u64::MAX, "é"]});
    let mut request = GenerateRequest::new(Prompt::Tokens(vec![1, u32::MAX]));
    request.sampling =
        Sampling { logit_bias: [(3, -100.0), (4, 100.0)].into(), ..request.sampling };
    request.format = Some(hive_api::Format::JsonSchema(schema));
    request.stop = vec!["\n".into()];
    let (_, back) = again(1, &Order::Begin(Box::new(request.clone())));
    assert!(matches!(back, Order::Begin(back) if *back == request));
    let done = Generated {
        finish: Finish::Cancelled,
        prompt_tokens: 1,
        cached_tokens: 2,
        generated_tokens: 3,
        prompt_seconds: 0.5,
        generate_seconds: f64::MAX,
    };
    let (_, back) = again(1, &Report::Output(Output::Done(done)));
    assert!(matches!(back, Report::Output(Output::Done(back)) if back == done));
}

#[test]
fn a_length_over_the_bound_is_refused_before_room_is_made() {
    let mut bytes = encode(1, &Report::Beat).unwrap();
    bytes[..4].copy_from_slice(&(FRAME_LEN as u32 + 1).to_le_bytes());
    let error = read(&mut bytes.as_slice()).unwrap_err();
    assert!(matches!(error, FrameError::TooLong { len } if len == FRAME_LEN + 1), "{error}");
}

#[test]
fn a_message_over_the_bound_is_not_sent() {
    let order = Order::Embed(vec![Prompt::Text("x".repeat(FRAME_LEN))]);
    assert!(matches!(encode(1, &order), Err(FrameError::TooLong { .. })));
}

#[test]
fn what_follows_a_message_is_refused() {
    let mut frame = encode(1, &Report::Beat).unwrap();
    let body = frame.split_off(HEADER_LEN);
    let frame = Frame { ticket: 1, body: [body, vec![0]].concat() };
    assert!(matches!(frame.decode::<Report>(), Err(FrameError::Trailing { n_bytes: 1 })));
}

#[test]
fn a_pipe_that_ends_inside_a_frame_is_broken() {
    let bytes = encode(1, &Report::Progress { done: 1, total: 2 }).unwrap();
    for end in 1..bytes.len() {
        let read = read(&mut &bytes[..end]);
        assert!(matches!(read, Ok(None) | Err(FrameError::Pipe(_))), "{end}");
    }
}

proptest! {
    /// Whatever a child writes, the parent ends up with a message or an error.
    #[test]
    fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        let frame = Frame { ticket: 0, body };
        let _ = frame.decode::<Report>();
        let _ = frame.decode::<Order>();
    }

    /// Neither do messages in which a few bytes are others.
    #[test]
    fn no_mutated_message_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut request = GenerateRequest::new("text");
        request.stop = vec!["a".into(), "b".into()];
        let mut bytes = encode(9, &Order::Begin(Box::new(request))).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(Some(frame)) = read(&mut bytes.as_slice()) {
            let _ = frame.decode::<Order>();
        }
    }
}
