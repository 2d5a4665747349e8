//! Where a handler is called, for one task after the other: each call takes the place in memory of the one before.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Waker, Poll},
};

use pin_project_lite::pin_project;

use crate::{
    body::Body, bounds::OUTPUT_MAX, context::Context, failure::Failure, handler::Handler,
    task::AttemptEnd, verdict::Outcome,
};

/// What one call of a handler came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) outcome: Outcome,
    pub(crate) output: Option<Body>,
    pub(crate) output_error: Option<String>,
}

/// A place for calls of one handler, whose type is no longer known.
pub(crate) trait Seat: Send {
    /// Puts a call here. What is still here is dropped.
    fn take(self: Pin<&mut Self>, payload: Body, ctx: Context);

    /// Goes on with the call that is here; without one, there is nothing to wait for.
    fn poll(self: Pin<&mut Self>, waker: &mut Waker<'_>) -> Poll<Ran>;

    /// Drops the call.
    fn clear(self: Pin<&mut Self>);
}

/// A seat of whatever handler.
pub(crate) type AnySeat = Pin<Box<dyn Seat>>;

/// A seat of this handler, with nothing in it.
pub(crate) fn seat<H: Handler>() -> AnySeat {
    Box::pin(Place { call: call::<H>, under_way: None })
}

pin_project! {
    /// What makes the calls, and the one that is under way.
    struct Place<C, F> {
        call: C,
        #[pin]
        under_way: Option<F>,
    }
}

impl<C, F> Seat for Place<C, F>
where
    C: Fn(Body, Context) -> F + Send,
    F: Future<Output = Ran> + Send,
{
    fn take(self: Pin<&mut Self>, payload: Body, ctx: Context) {
        let mut this = self.project();
        this.under_way.set(Some((this.call)(payload, ctx)));
    }

    fn poll(self: Pin<&mut Self>, waker: &mut Waker<'_>) -> Poll<Ran> {
        match self.project().under_way.as_pin_mut() {
            Some(call) => call.poll(waker),
            None => Poll::Pending,
        }
    }

    fn clear(self: Pin<&mut Self>) {
        self.project().under_way.set(None);
    }
}

/// Reads the payload, runs the handler, writes its output.
async fn call<H: Handler>(payload: Body, ctx: Context) -> Ran {
    let nothing = |outcome| Ran { outcome, output: None, output_error: None };
    let payload: H = match payload.read() {
        Ok(payload) => payload,
        Err(error) => {
            let message = format!("the stored payload cannot be read: {error}");
            return nothing(Outcome::Unreadable(Failure::new(AttemptEnd::Unreadable, message)));
        }
    };
    match payload.call(ctx).await {
        Err(failure) => nothing(Outcome::Failed(failure)),
        Ok(output) => {
            // The work is done: an output that cannot be kept must not make it be done again.
            let (output, output_error) = match Body::json(&output) {
                Ok(body) if body.len() > OUTPUT_MAX => {
                    (None, Some(format!("{} bytes; at most {OUTPUT_MAX} fit", body.len())))
                }
                Ok(body) => (Some(body), None),
                Err(error) => (None, Some(error.to_string())),
            };
            Ran { outcome: Outcome::Completed, output, output_error }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::pending,
        panic::{AssertUnwindSafe, catch_unwind},
        task,
    };

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::handler::{HandlerOptions, Location};

    thread_local! {
        static DROPPED: Cell<u32> = const { Cell::new(0) };
    }

    struct CountsDrop;

    impl Drop for CountsDrop {
        fn drop(&mut self) {
            DROPPED.set(DROPPED.get() + 1);
        }
    }

    #[derive(Serialize, Deserialize)]
    enum Play {
        Return(u8),
        Wait,
        Panic,
    }

    impl Handler for Play {
        type Output = u8;
        const OPTIONS: HandlerOptions =
            HandlerOptions::new("play", Location { module: "", file: "", line: 1, column: 1 });

        async fn call(self, _: Context) -> Result<u8, Failure> {
            let _counts = CountsDrop;
            match self {
                Self::Return(n) => Ok(n),
                Self::Wait => pending().await,
                Self::Panic => panic!("as it is to"),
            }
        }
    }

    fn poll(seat: &mut AnySeat, play: &Play) -> Poll<Ran> {
        seat.as_mut().take(Body::json(play).unwrap(), Context::test());
        seat.as_mut().poll(&mut Waker::from_waker(task::Waker::noop()))
    }

    #[test]
    fn a_call_takes_the_place_of_the_one_before_however_that_ended() {
        let mut seat = seat::<Play>();
        let at = std::ptr::from_ref(&*seat).addr();
        let mut dropped = 0;
        for before in [Play::Return(1), Play::Wait, Play::Panic] {
            for cleared in [true, false] {
                let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut seat, &before)));
                assert_eq!(polled.is_err(), matches!(before, Play::Panic));
                if cleared {
                    seat.as_mut().clear();
                    assert_eq!(DROPPED.get(), dropped + 1);
                    let nobody = seat.as_mut().poll(&mut Waker::from_waker(task::Waker::noop()));
                    assert!(nobody.is_pending());
                }
                let Poll::Ready(ran) = poll(&mut seat, &Play::Return(2)) else { panic!("waits") };
                assert_eq!(ran.output.unwrap().as_str(), Some("2"));
                assert_eq!(std::ptr::from_ref(&*seat).addr(), at);
                dropped += 2;
                assert_eq!(DROPPED.get(), dropped);
            }
        }
    }
}
