//! An answer on its way from a child to whoever asked.
//!
//! The driver puts outputs in and never waits; the reader takes them out at its own pace. Text that
//! nobody has taken yet runs together, so what waits is the text itself and little more, and
//! [`UNREAD_LEN`] bounds it.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use hive_api::{Finish, Output, Piece, Ticket, TokenLogprob};

use crate::driver::Shared;
use crate::limits::UNREAD_LEN;

/// What a text comes to. Ends after [`Output::Done`] or [`Output::Failed`], one of which always
/// comes. Dropping it cancels the text.
pub struct Answer {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) ticket: Ticket,
}

impl Stream for Answer {
    type Item = Output;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Output>> {
        self.mailbox.poll(context)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.mailbox.is_closed() {
            self.shared.cancel(self.ticket);
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("ticket", &self.ticket).finish()
    }
}

/// Outputs that nobody has taken yet.
#[derive(Default)]
pub(crate) struct Mailbox(Mutex<Unread>);

#[derive(Default)]
struct Unread {
    outputs: VecDeque<Output>,
    len: usize,
    /// The last output is in.
    closed: bool,
    /// Something was dropped, because the reader was too far behind.
    cut: bool,
    waker: Option<Waker>,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Unread> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an output in; says whether the reader still keeps up. When it once did not, what comes
    /// is dropped, except for the last output, which then never says that the text is whole.
    pub(crate) fn put(&self, mut output: Output) -> bool {
        let mut unread = self.lock();
        if unread.closed {
            return true;
        }
        let is_last = matches!(output, Output::Done(_) | Output::Failed(_));
        let fits = !unread.cut && unread.len + len(&output) <= UNREAD_LEN;
        unread.cut |= !fits && !is_last;
        if unread.cut
            && let Output::Done(done) = &mut output
        {
            done.finish = Finish::Cancelled;
        }
        if fits || is_last {
            unread.closed = is_last;
            unread.len += len(&output);
            match (unread.outputs.back_mut(), output) {
                (Some(Output::Piece(last)), Output::Piece(piece))
                    if last.tokens.is_empty() && piece.tokens.is_empty() =>
                {
                    last.text.push_str(&piece.text);
                }
                (_, output) => unread.outputs.push_back(output),
            }
            if let Some(waker) = unread.waker.take() {
                drop(unread);
                waker.wake();
            }
        }
        fits
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Output>> {
        let mut unread = self.lock();
        if let Some(output) = unread.outputs.pop_front() {
            // What ran together counted more than once; an empty mailbox holds nothing.
            unread.len =
                if unread.outputs.is_empty() { 0 } else { unread.len.saturating_sub(len(&output)) };
            return Poll::Ready(Some(output));
        }
        if unread.closed {
            return Poll::Ready(None);
        }
        unread.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

/// Bytes that an output takes while it waits.
fn len(output: &Output) -> usize {
    fn tokens(tokens: &[TokenLogprob]) -> usize {
        let own = |token: &TokenLogprob| {
            size_of::<TokenLogprob>() + token.bytes.len() + self::tokens_of(&token.top)
        };
        tokens.iter().map(own).sum()
    }
    match output {
        Output::Piece(Piece { text, tokens: with }) if with.is_empty() => text.len(),
        Output::Piece(piece) => size_of::<Output>() + piece.text.len() + tokens(&piece.tokens),
        Output::ToolCall(call) => {
            size_of::<Output>() + call.id.len() + call.name.len() + call.arguments.len()
        }
        Output::Done(_) | Output::Failed(_) => size_of::<Output>(),
    }
}

/// The likeliest others of a token, which have none themselves.
fn tokens_of(top: &[TokenLogprob]) -> usize {
    top.iter().map(|token| size_of::<TokenLogprob>() + token.bytes.len()).sum()
}

#[cfg(test)]
mod tests {
    use hive_api::{Failure, FailureKind, Generated};

    use super::*;

    fn piece(text: &str) -> Output {
        Output::Piece(Piece { text: text.to_owned(), tokens: Vec::new() })
    }

    fn failed() -> Output {
        Output::Failed(Failure { kind: FailureKind::Compute, message: "x".into() })
    }

    fn take(mailbox: &Mailbox) -> Poll<Option<Output>> {
        mailbox.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn text_that_waits_runs_together() {
        let mailbox = Mailbox::default();
        assert!(mailbox.put(piece("a")) && mailbox.put(piece("b")) && mailbox.put(failed()));
        assert_eq!(take(&mailbox), Poll::Ready(Some(piece("ab"))));
        assert_eq!(take(&mailbox), Poll::Ready(Some(failed())));
        assert_eq!(take(&mailbox), Poll::Ready(None));
    }

    #[test]
    fn a_reader_who_does_not_read_is_found_out_and_still_gets_the_last_output() {
        let mailbox = Mailbox::default();
        let text = "x".repeat(UNREAD_LEN / 4);
        let fit = (0..8).take_while(|_| mailbox.put(piece(&text))).count();
        assert_eq!(fit, 4);
        assert!(!mailbox.put(piece("more")));
        mailbox.put(failed());
        let Poll::Ready(Some(Output::Piece(all))) = take(&mailbox) else { panic!("no text") };
        assert_eq!(all.text.len(), UNREAD_LEN);
        assert_eq!(take(&mailbox), Poll::Ready(Some(failed())));
    }

    /// The model may have come to its end before it heard that it was cancelled.
    #[test]
    fn a_text_with_a_hole_never_ends_as_a_whole_one() {
        let mailbox = Mailbox::default();
        let text = "x".repeat(UNREAD_LEN);
        assert!(mailbox.put(piece(&text)) && !mailbox.put(piece("lost")));
        assert_eq!(take(&mailbox), Poll::Ready(Some(piece(&text))));
        assert!(!mailbox.put(piece("after the hole")));
        mailbox.put(Output::Done(Generated {
            finish: Finish::Stop,
            prompt_tokens: 1,
            cached_tokens: 0,
            generated_tokens: 3,
            prompt_seconds: 0.0,
            generate_seconds: 0.0,
        }));
        let Poll::Ready(Some(Output::Done(done))) = take(&mailbox) else { panic!("no end") };
        assert_eq!(done.finish, Finish::Cancelled);
    }

    #[test]
    fn what_was_read_counts_no_more() {
        let mailbox = Mailbox::default();
        let text = "x".repeat(UNREAD_LEN / 2);
        for _ in 0..8 {
            assert!(mailbox.put(piece(&text)));
            assert_eq!(take(&mailbox), Poll::Ready(Some(piece(&text))));
        }
        assert_eq!(take(&mailbox), Poll::Pending);
    }
}
