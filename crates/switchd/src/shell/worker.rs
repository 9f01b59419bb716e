//! A thread that does one kind of blocking work, a job at a time.

use std::io;
use std::sync::mpsc;
use std::thread;

/// A job.
type Job = Box<dyn FnOnce() + Send>;

/// A named thread. It ends, after its last job, when the handle is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    /// Starts the thread.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            for job in queue {
                job();
            }
        })?;
        Ok(Worker { jobs })
    }

    /// Does the job on the thread, after those that were given before.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        // The thread ends only with this handle: a panic in a job stops the process.
        assert!(self.jobs.send(Box::new(job)).is_ok(), "the thread of a worker lives as long as the worker");
    }
}
