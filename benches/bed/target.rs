//! The servers that are compared, and how they are asked in turn.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::baseline::{ANSWER, Role};
use super::proc;
use super::statistics::median;
use super::support::eventually;
use super::support::portcullis::Portcullis;
use super::support::process::Process;

/// A server, as a client and a measurement need it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// The id of its process.
    pub(crate) id: u32,
    /// Where it answers checks.
    pub(crate) address: SocketAddr,
}

/// A server to compare with, in a process of its own, on as many threads as there are cores.
#[derive(Debug)]
pub(crate) struct Baseline {
    process: Process,
    address: SocketAddr,
}

/// What was measured of both in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// Of Portcullis.
    pub(crate) ours: f64,
    /// Of the server that it is compared with.
    pub(crate) theirs: f64,
}

/// How long something took, and the CPU time that a process used meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    /// From start to end.
    pub(crate) time: Duration,
    /// Of the program and of the kernel for it.
    pub(crate) cpu: Duration,
}

impl Target {
    /// Portcullis.
    pub(crate) fn portcullis(server: &Portcullis) -> Self {
        Self {
            id: server.id(),
            address: server.check_address(),
        }
    }

    /// Does `work`, and tells what that cost the server.
    pub(crate) fn spend(&self, work: impl FnOnce()) -> Spent {
        let (cpu, started) = (proc::cpu(self.id), Instant::now());
        work();
        Spent {
            time: started.elapsed(),
            cpu: proc::cpu(self.id) - cpu,
        }
    }
}

impl Baseline {
    /// Starts it and waits until it listens.
    pub(crate) fn start(role: Role) -> Self {
        Self::start_with(role, |command| command)
    }

    /// Starts one that answers every check with `answer`.
    pub(crate) fn start_same(answer: &[u8]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let file = folder.path().join("answer");
        std::fs::write(&file, answer).expect("a file can be written");
        // it has read the file once it listens
        Self::start_with(Role::Same, |command| command.env(ANSWER, file))
    }

    fn start_with(role: Role, change: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let mut command = role.command(address, proc::cores());
        change(&mut command);
        let process = Process::start(role.name(), command);
        eventually("the server to listen", || TcpStream::connect(address).ok());
        Self { process, address }
    }

    /// As a target.
    pub(crate) fn target(&self) -> Target {
        Target {
            id: self.process.id(),
            address: self.address,
        }
    }
}

impl Round {
    /// The median of Portcullis over the rounds, that of the other server, and that of their ratio
    /// round by round.
    pub(crate) fn medians(rounds: &[Self]) -> (f64, f64, f64) {
        (
            median(rounds.iter().map(|round| round.ours)),
            median(rounds.iter().map(|round| round.theirs)),
            median(rounds.iter().map(|round| round.ours / round.theirs)),
        )
    }
}

/// Measures both in turn, as often as `rounds`; who is first changes with each round.
pub(crate) fn in_turn<T>(
    rounds: usize,
    mut ours: impl FnMut() -> T,
    mut theirs: impl FnMut() -> T,
) -> Vec<(T, T)> {
    let one = |round: usize| {
        if round.is_multiple_of(2) {
            let first = ours();
            (first, theirs())
        } else {
            let first = theirs();
            (ours(), first)
        }
    };
    (0..rounds).map(one).collect()
}
