//! What others tell on a channel. It may be lost while there is no connection, so each new one is
//! told too: who listens reads again what it may have missed.

use std::sync::Arc;

use futures_util::StreamExt as _;
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::breaker::{LONGEST_PAUSE, backoff};
use super::keeper::KEEPALIVE;
use super::{Inner, RedisFailure, RedisUnavailable};
use crate::task::TaskGuard;

/// How many messages wait for who listens. Who falls behind is told of a new connection instead.
const WAITING_MESSAGES: usize = 1024;

/// What is heard on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// From now on nothing is missed; what was told before may have been.
    Connected,
    /// Somebody told this.
    Message(Vec<u8>),
    /// From now on messages are missed.
    Disconnected,
}

/// Listens to a channel for as long as it lives.
#[derive(Debug)]
pub struct Subscription {
    notices: mpsc::Receiver<Notice>,
    _task: TaskGuard,
}

impl Subscription {
    /// Starts to listen.
    pub(super) fn start(redis: Arc<Inner>, channel: &str) -> Self {
        let (heard, notices) = mpsc::channel(WAITING_MESSAGES);
        let task = format!("redis/{}/subscription", redis.name);
        let listening = listen(Arc::clone(&redis), channel.to_owned(), heard, task.clone());
        let task = redis.tasks.streaming(&task, listening);
        Self {
            notices,
            _task: task,
        }
    }

    /// The next of what is heard; none where the process ends. It may be given up and asked again.
    pub async fn next(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }
}

async fn listen(redis: Arc<Inner>, channel: String, heard: mpsc::Sender<Notice>, task: String) {
    let mut failures = 0;
    loop {
        let started = Instant::now();
        let failure = match redis.in_time(redis.join(&channel)).await {
            Ok((sink, stream)) => {
                redis.tasks.record(&task, Ok(()));
                let failure = redis.follow(sink, stream, &heard).await;
                // the listener reads what it has not read yet, and then of this
                let _ = heard.send(Notice::Disconnected).await;
                failure
            }
            Err(failure) => failure,
        };
        redis.tasks.record(&task, Err(failure.into()));
        if started.elapsed() > LONGEST_PAUSE {
            failures = 0;
        }
        tokio::time::sleep(backoff(failures)).await;
        failures = failures.saturating_add(1);
    }
}

impl Inner {
    /// A connection that hears the channel.
    async fn join(&self, channel: &str) -> Result<(PubSubSink, PubSubStream), RedisUnavailable> {
        let stream = self.stream().await?;
        let joining = async {
            let mut connection = PubSub::new(&self.login(), stream).await?;
            connection.subscribe(channel).await?;
            Ok(connection.split())
        };
        let joined: Result<_, redis::RedisError> = joining.await;
        joined.map_err(|error| RedisUnavailable::of(&error))
    }

    /// Hands on what is heard until the connection ends or who listens has fallen behind.
    async fn follow(
        &self,
        mut sink: PubSubSink,
        mut stream: PubSubStream,
        heard: &mpsc::Sender<Notice>,
    ) -> RedisUnavailable {
        let ended = |why: &str| RedisUnavailable::new(RedisFailure::Disconnected, why);
        if heard.try_send(Notice::Connected).is_err() {
            return ended("nobody has read what was heard before");
        }
        loop {
            tokio::select! {
                message = stream.next() => {
                    let Some(message) = message else {
                        return ended("the connection to redis ended");
                    };
                    let message = Notice::Message(message.get_payload_bytes().to_vec());
                    if heard.try_send(message).is_err() {
                        return ended("more was told than is read");
                    }
                }
                () = tokio::time::sleep(KEEPALIVE) => {
                    let answered = self.in_time(async {
                        let answered = sink.ping::<redis::Value>().await;
                        answered.map_err(|error| RedisUnavailable::of(&error))
                    });
                    if let Err(failure) = answered.await {
                        return failure;
                    }
                }
            }
        }
    }
}
