//! Everything that can go wrong, with the text a user reads: what was asked, what was found, the way out.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::job::{JobId, Status, Token};
use crate::options::seconds;

/// An error from outside the core (a user's repository, a signal handler) that goes through it unchanged.
pub type Foreign = Arc<dyn std::error::Error + Send + Sync>;

/// Why a call was refused. Unless a variant says otherwise, nothing was changed.
#[derive(Clone, Debug)]
pub enum Error {
    /// A value that no call of this kind accepts; the text names the parameter, what was wanted and what came.
    Invalid(String),
    /// No job has this id: never enqueued, deleted, or purged.
    JobNotFound(JobId),
    /// The state machine has no such step from where the job stands.
    InvalidTransition(Box<Transition>),
    /// The caller does not hold the job.
    LeaseLost(Box<Lost>),
    /// A limit on what is in the service was reached.
    QueueFull(Full),
    /// The service is closed, stopped, or belongs to the parent process.
    Closed(Closed),
    /// A call into the service from inside a repository's method, which would wait for itself.
    Reentered,
    /// A repository refused or failed; the first caller gets what the repository raised.
    Repository(Foreign),
    /// A repository failed earlier; everything but close is refused.
    Failed(Foreign),
    /// The thread was told to stop waiting (a signal handler raised).
    Interrupted(Foreign),
    /// What the repository holds is not what jobq wrote.
    Corrupt(String),
    /// A store on disk cannot be opened, read or written.
    Store(Box<StoreFault>),
    /// A panic happened under the lock; the state can no longer be trusted.
    Internal,
}

/// What is wrong with a store on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFault {
    /// Of which kind.
    pub kind: StoreFaultKind,
    /// The store's directory; empty where that is not known.
    pub path: String,
    /// What was asked, what was found, the way out; it names the path.
    pub text: String,
}

impl StoreFault {
    /// The system's error number, where there is one.
    #[must_use]
    pub const fn errno(&self) -> Option<i32> {
        match self.kind {
            StoreFaultKind::Unusable { errno } | StoreFaultKind::Stuck { errno } => errno,
            StoreFaultKind::Locked { .. } | StoreFaultKind::Corrupt => None,
        }
    }
}

/// The kinds of [`StoreFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFaultKind {
    /// A service has it open: one of this process, or of the one with this pid, where that is known.
    Locked {
        /// The owner's process.
        pid: Option<u32>,
    },
    /// It is damaged, shorter than it was, or of another format.
    Corrupt,
    /// It is not there, no store, or the system refused something.
    Unusable {
        /// The system's error number, where there is one.
        errno: Option<i32>,
    },
    /// The same, and something of the store is still in use by this process: only another one can open it.
    Stuck {
        /// The system's error number, where there is one.
        errno: Option<i32>,
    },
}

/// A step that the state machine does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The job.
    pub id: JobId,
    /// Its topic.
    pub topic: Arc<str>,
    /// Where it stands.
    pub status: Status,
    /// What was asked.
    pub verb: &'static str,
}

/// A holder's call whose lease is over.
#[derive(Clone, Debug)]
pub struct Lost {
    /// The job.
    pub id: JobId,
    /// Its topic.
    pub topic: Arc<str>,
    /// The caller's token.
    pub token: Token,
    /// What was asked.
    pub verb: &'static str,
    /// Where the job stands; `None` when it is gone.
    pub status: Option<Status>,
    /// Who holds it now.
    pub holder: Option<Token>,
    /// The lease's length in milliseconds.
    pub lease: u64,
    /// Milliseconds since the lease's deadline; `None` when that is not past.
    pub overdue: Option<u64>,
    /// Whether this handle has settled the job itself.
    pub settled: Settled,
    /// All lost jobs of a call for many; else this one.
    pub ids: Vec<JobId>,
}

/// Whether a handle has ended its lease itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It has not.
    No,
    /// It has.
    Yes,
}

/// The limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// `Limits.max_jobs`: its value, how many are live, how many were to be added.
    Jobs {
        /// The limit.
        limit: u64,
        /// Live jobs.
        live: u64,
        /// Asked for.
        more: u64,
    },
    /// `Limits.max_topics`.
    Topics {
        /// The limit.
        limit: u64,
    },
}

/// Why the service takes no such call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// `close()` was called.
    Closed,
    /// `stop()` was called: no more grants.
    Stopped,
    /// The process was forked; the service lives in the parent.
    Forked,
}

impl std::error::Error for Error {}

impl Error {
    /// What lies in a repository cannot be used; where it is, if that is known, is said before why.
    pub(crate) fn corrupt(place: Option<&Path>, text: String) -> Self {
        let Some(path) = place.map(|path| path.display().to_string()) else { return Self::Corrupt(text) };
        let text = format!("'{path}': {text}");
        Self::Store(Box::new(StoreFault { kind: StoreFaultKind::Corrupt, path, text }))
    }
}

/// A name in quotes, so that nothing in it passes for the text around it.
fn quoted(name: &str) -> String {
    format!("'{}'", name.escape_debug())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text) | Self::Corrupt(text) => f.write_str(text),
            Self::Store(fault) => f.write_str(&fault.text),
            Self::JobNotFound(id) => {
                write!(f, "no job {id}: it was never enqueued, or it was deleted or purged by the retention")
            }
            Self::InvalidTransition(step) => step.fmt(f),
            Self::LeaseLost(lost) => lost.fmt(f),
            Self::QueueFull(full) => full.fmt(f),
            Self::Closed(closed) => closed.fmt(f),
            Self::Reentered => f.write_str(
                "the service was called from inside a method of its own repository: it would wait for itself; \
                 let the method return first",
            ),
            Self::Repository(cause) | Self::Interrupted(cause) => cause.fmt(f),
            Self::Failed(cause) => {
                let way_out = match cause.downcast_ref::<Self>() {
                    Some(Self::Store(fault)) if matches!(fault.kind, StoreFaultKind::Stuck { .. }) => {
                        "restart this process"
                    }
                    _ => "close this service and open it again",
                };
                write!(f, "the repository failed and nothing is accepted any more ({cause}): {way_out}")
            }
            Self::Internal => f.write_str(
                "a defect of jobq: an operation broke off half way and the service refuses further work; \
                 close it and open it again",
            ),
        }
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, topic, status, verb } = self;
        let topic = quoted(topic);
        write!(f, "job {id} of {topic} is {status}: {verb}() is not possible and changed nothing. ")?;
        f.write_str(match (*verb, status) {
            ("reset", Status::Reserved) => "Pass force=True to take it from its holder, or wait until it is settled.",
            ("delete", Status::Reserved) => "Cancel it first; its holder then gets LeaseLost.",
            ("cancel", _) => "It has already ended.",
            _ => "Look at its status first.",
        })
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, token, verb, .. } = self;
        // The topic of a job that is gone is not known.
        let of = if self.topic.is_empty() { String::new() } else { format!(" of {}", quoted(&self.topic)) };
        if self.settled == Settled::Yes {
            return write!(
                f,
                "job {id}{of} was already settled through this handle (token {token}). \
                 {verb}() changed nothing. A handle settles its job once."
            );
        }
        write!(f, "job {id}{of} is not held by token {token} any more: ")?;
        if let Some(overdue) = self.overdue {
            write!(f, "its lease of {} s ran out {} s ago and ", seconds(self.lease), seconds(overdue))?;
        }
        match (self.holder, self.status) {
            (Some(holder), _) => write!(f, "token {holder} holds it now")?,
            (None, Some(status)) => write!(f, "it is {status} now")?,
            (None, None) => f.write_str("the job is gone (deleted or purged)")?,
        }
        write!(f, ". {verb}() changed nothing.")?;
        if self.overdue.is_some() {
            f.write_str(" Take a longer lease (JobOptions.lease) or call job.extend() while it runs.")?;
        }
        if self.ids.len() > 1 {
            write!(f, " ({} jobs of this call were lost; `ids` names them, the others were settled.)", self.ids.len())?;
        }
        Ok(())
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jobs { limit, live, more } => write!(
                f,
                "max_jobs is {limit}: {live} jobs are ready, delayed or reserved and {more} more would pass it. \
                 Nothing was queued. Wait until workers have taken some (JobService.join), or raise Limits.max_jobs."
            ),
            Self::Topics { limit } => write!(
                f,
                "max_topics is {limit} and as many topics are in use. Nothing was queued. \
                 Use a topic that exists, or raise Limits.max_topics."
            ),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the service is closed: open it again",
            Self::Stopped => {
                "the service was stopped: it grants no more jobs; settling and enqueue go on until close()"
            }
            Self::Forked => {
                "this service belongs to the parent of this forked process: open a service of your own in the child, \
                 or do the work in the parent"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Lost {
        Lost {
            id: JobId(42),
            topic: Arc::from("mail"),
            token: Token(7),
            verb: "done",
            status: Some(Status::Reserved),
            holder: Some(Token(9)),
            lease: 60_000,
            overdue: Some(3_200),
            settled: Settled::No,
            ids: vec![JobId(42)],
        }
    }

    #[test]
    fn a_lost_lease_says_what_happened_and_the_way_out() {
        assert_eq!(
            lost().to_string(),
            "job 42 of 'mail' is not held by token 7 any more: its lease of 60 s ran out 3.2 s ago and token 9 \
             holds it now. done() changed nothing. Take a longer lease (JobOptions.lease) or call job.extend() \
             while it runs."
        );
        let gone = Lost { status: None, holder: None, overdue: None, ..lost() };
        assert!(gone.to_string().contains("the job is gone"), "{gone}");
        let twice = Lost { settled: Settled::Yes, ..lost() };
        assert!(twice.to_string().contains("already settled"), "{twice}");
    }
}
