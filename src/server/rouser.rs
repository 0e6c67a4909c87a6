//! Wakes of a worker's tasks by other threads, gathered: the worker itself is roused once for many. Part of `server`.
//!
//! A runtime that is woken from outside is told so by a system call for each task. The applier answers hundreds of
//! connections after one sync (design §2, "wakes each worker once per sync"), so who wakes a connection from
//! another thread leaves its name here, and only the first name of a round rouses the worker.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;
use tokio::sync::Notify;

thread_local! {
    /// Number of the rouser whose worker this thread is; 0 is none.
    static OWN: Cell<usize> = const { Cell::new(0) };
}

/// Numbers are never used twice: several brokers may live in one process, in tests above all.
static NEXT: AtomicUsize = AtomicUsize::new(1);

/// One worker's list of tasks to wake.
pub(super) struct Rouser {
    number: usize,
    list: Mutex<Vec<Arc<Task>>>,
    named: Notify,
}

/// A task of that worker, as other threads see it.
struct Task {
    rouser: Arc<Rouser>,
    waker: Waker,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if OWN.get() == self.rouser.number {
            self.waker.wake_by_ref();
        } else {
            self.rouser.name(Arc::clone(self));
        }
    }
}

impl Rouser {
    pub(super) fn new() -> Arc<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { number, list: Mutex::default(), named: Notify::new() })
    }

    /// Says that this thread is the worker.
    pub(super) fn settle(&self) {
        OWN.set(self.number);
    }

    fn name(&self, task: Arc<Task>) {
        let first = {
            let mut list = self.list.lock();
            list.push(task);
            list.len() == 1
        };
        if first {
            self.named.notify_one();
        }
    }

    /// Wakes those who were named, round after round. Runs on the worker.
    pub(super) async fn run(self: Arc<Self>) {
        let mut round = Vec::new();
        loop {
            self.named.notified().await;
            std::mem::swap(&mut round, &mut *self.list.lock());
            for task in round.drain(..) {
                task.waker.wake_by_ref();
            }
        }
    }

    /// `future` for this worker, woken by other threads through the list.
    pub(super) fn roused(
        self: Arc<Self>,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let mut future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(future);
        let mut known: Option<(Arc<Task>, Waker)> = None;
        poll_fn(move |cx| {
            let fits = known.as_ref().is_some_and(|(task, _)| task.waker.will_wake(cx.waker()));
            if !fits {
                let task = Arc::new(Task { rouser: Arc::clone(&self), waker: cx.waker().clone() });
                known = Some((Arc::clone(&task), Waker::from(task)));
            }
            let waker = known.as_ref().map_or_else(|| cx.waker(), |(_, waker)| waker);
            future.as_mut().poll(&mut Context::from_waker(waker))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;
    use std::thread;
    use std::time::Duration;

    use tokio::runtime::Builder;
    use tokio::sync::mpsc;

    use super::*;

    /// Tasks that are woken by this thread again and again each see every wake.
    #[test]
    fn who_is_woken_from_another_thread_runs() {
        let rouser = Rouser::new();
        let worker = Arc::clone(&rouser);
        let (woken, mut seen) = mpsc::unbounded_channel();
        let mut senders = Vec::new();
        let mut receivers = Vec::new();
        for _ in 0..40 {
            let (sender, receiver) = mpsc::unbounded_channel::<u32>();
            senders.push(sender);
            receivers.push(receiver);
        }
        let thread = thread::spawn(move || {
            worker.settle();
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                drop(tokio::spawn(Arc::clone(&worker).run()));
                let tasks: Vec<_> = receivers
                    .into_iter()
                    .map(|mut receiver| {
                        let woken = woken.clone();
                        tokio::spawn(Arc::clone(&worker).roused(async move {
                            while let Some(number) = receiver.recv().await {
                                woken.send(number).expect("the test listens");
                            }
                        }))
                    })
                    .collect();
                for task in tasks {
                    task.await.expect("a task");
                }
            });
        });
        for number in 0..200 {
            for sender in &senders {
                sender.send(number).expect("a task that listens");
            }
            for _ in &senders {
                assert_eq!(seen.blocking_recv(), Some(number));
            }
        }
        drop(senders);
        thread.join().expect("a worker");
    }

    /// Many wakes of many tasks before the worker runs rouse it once.
    #[test]
    fn a_round_rouses_the_worker_once() {
        let rouser = Rouser::new();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let wakers = Arc::new(Mutex::new(Vec::new()));
        runtime.block_on(async {
            for _ in 0..10 {
                let wakers = Arc::clone(&wakers);
                drop(tokio::spawn(Arc::clone(&rouser).roused(poll_fn(move |cx| {
                    wakers.lock().push(cx.waker().clone());
                    Poll::Pending
                }))));
            }
            tokio::task::yield_now().await;
            let known = std::mem::take(&mut *wakers.lock());
            assert_eq!(known.len(), 10);
            let from_outside = thread::spawn(move || known.iter().for_each(Waker::wake_by_ref));
            from_outside.join().expect("a thread");
            assert_eq!(rouser.list.lock().len(), 10);
            let roused = tokio::time::timeout(Duration::from_secs(5), rouser.named.notified());
            roused.await.expect("the first name rouses");
            let again = tokio::time::timeout(Duration::from_millis(20), rouser.named.notified());
            again.await.expect_err("the others do not");
        });
    }
}
