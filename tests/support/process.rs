//! A program that a test started.

use std::process::{Child, Command, ExitStatus};
use std::sync::LazyLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a program may take to stop after it was asked to.
const GRACE: Duration = Duration::from_secs(15);

/// A running program; dropping it kills it, because a drain takes seconds and there is nothing to
/// save. [`Process::stop`] is the gentle way.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
}

type Start = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The thread that starts every program. It lives as long as this process, because Linux delivers
/// a program's parent-death signal (`prctl(2)`, `PR_SET_PDEATHSIG`, which Envoy asks for) when the
/// thread ends that started it, and the thread of a test ends with the test.
static STARTER: LazyLock<mpsc::Sender<Start>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel::<Start>();
    let thread = std::thread::Builder::new()
        .name("starter".to_owned())
        .spawn(move || {
            for (mut command, reply) in receiver {
                // A caller that has gone away needs no reply.
                let _gone = reply.send(command.spawn());
            }
        });
    thread.expect("a thread");
    sender
});

impl Process {
    /// Starts a program.
    pub(crate) fn start(name: &'static str, command: Command) -> Self {
        let (reply, started) = mpsc::channel();
        STARTER.send((command, reply)).expect("the starter lives");
        let child = started.recv().expect("the starter replies");
        Self {
            name,
            child: child.unwrap_or_else(|error| panic!("{name} cannot be started: {error}")),
        }
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends SIGTERM.
    pub(crate) fn ask_to_stop(&mut self) {
        self.signal("TERM");
    }

    /// Sends this signal, where it has not ended.
    pub(crate) fn signal(&mut self, signal: &str) {
        if self.ended().is_none() {
            let kill = format!("kill -{signal} {}", self.child.id());
            let sent = Command::new("sh").args(["-c", &kill]).status();
            assert!(
                sent.is_ok_and(|status| status.success()),
                "{} cannot be signalled",
                self.name
            );
        }
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// Where it does not end in time; it is killed then.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.ask_to_stop();
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            if start.elapsed() > GRACE {
                self.kill();
                panic!("{} did not stop within {GRACE:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it at once.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
