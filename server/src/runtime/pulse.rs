//! The pulse: a plain thread that wakes every executor some hundred times a second and looks
//! whether it still turns.
//!
//! glommio 0.9.0 can park an executor that has runnable tasks and then sleeps until something
//! from outside happens. This thread is that something. It also notices a shard that hangs: one
//! that stays silent for a session timeout ends the process, because a hung shard must not look
//! alive to its clients.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Time between two pulses.
const PERIOD: Duration = Duration::from_millis(8);
/// Silence that is worth a warning.
const SILENCE_WARN: Duration = Duration::from_secs(1);

/// One executor's side.
#[derive(Clone, Default)]
pub(crate) struct Heart {
    waker: Arc<Mutex<Option<Waker>>>,
    beats: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Heart {
    /// Starts the task that the pulse wakes. Call on the executor, once.
    pub(crate) fn attach(&self) {
        let heart = self.clone();
        let task = poll_fn(move |context| {
            let mut waker = heart.waker.lock().expect("nothing panics under this lock");
            *waker = Some(context.waker().clone());
            Poll::<()>::Pending
        });
        glommio::spawn_local(task).detach();
    }

    /// The main loop turned.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// The main loop has ended on purpose.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        *self.waker.lock().expect("nothing panics under this lock") = None;
    }
}

/// Starts the thread for these executors. `silence_max` without a beat aborts the process.
pub(crate) fn start(hearts: Vec<(String, Heart)>, silence_max: Duration) -> std::io::Result<()> {
    struct Watched {
        name: String,
        heart: Heart,
        beats: u64,
        since: Instant,
        warned: bool,
    }
    let now = Instant::now();
    let mut watched: Vec<Watched> = hearts
        .into_iter()
        .map(|(name, heart)| Watched { name, heart, beats: 0, since: now, warned: false })
        .collect();
    let beat = move || {
        let mut last = Instant::now();
        while !watched.is_empty() {
            std::thread::sleep(PERIOD);
            let now = Instant::now();
            // If this thread itself was held up, so was everybody: start counting anew.
            let held_up = now.duration_since(last) > SILENCE_WARN;
            last = now;
            watched.retain(|one| !one.heart.ended.load(Ordering::Relaxed));
            for one in &mut watched {
                if let Some(waker) =
                    &*one.heart.waker.lock().expect("nothing panics under this lock")
                {
                    waker.wake_by_ref();
                }
                let beats = one.heart.beats.load(Ordering::Relaxed);
                if beats != one.beats || held_up {
                    (one.beats, one.since, one.warned) = (beats, now, false);
                    continue;
                }
                let silence = now.duration_since(one.since);
                if silence > silence_max {
                    let silence_ms = silence.as_millis() as u64;
                    tracing::error!(executor = one.name, silence_ms, "hangs: the process ends");
                    std::process::abort();
                }
                if silence > SILENCE_WARN && !one.warned {
                    one.warned = true;
                    tracing::warn!(executor = one.name, "has not turned for a second");
                }
            }
        }
    };
    std::thread::Builder::new().name("pulse".into()).spawn(beat)?;
    Ok(())
}
