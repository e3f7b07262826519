//! An agent at the other end of a line, as a chat model: the conversation loop asks it for its next message like any other.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use madrigal_agents::chat_model::{ChatError, ChatModel, Reply, ReplyEvent, ReplyRequest, Usage};
use madrigal_journal::event::{Finish, Source};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::line::{Line, News, Saying, Turn};
use crate::meeting::wire_id;

/// An agent at the other end of a line.
#[derive(Debug)]
pub struct Peer {
    name: String,
    source: Source,
    line: Line,
    news: mpsc::UnboundedReceiver<News>,
    /// How long an agent that dropped is waited for.
    grace: Duration,
}

impl Peer {
    /// The seat's side of a line. `name` is what answers there, as the journal calls it.
    #[must_use]
    pub fn new(name: String, source: Source, line: Line, news: mpsc::UnboundedReceiver<News>, grace: Duration) -> Self {
        Self { name, source, line, news, grace }
    }

    async fn wait(&mut self, on_event: &mut (dyn FnMut(ReplyEvent) + Send)) -> Result<Saying, ChatError> {
        let mut deadline = (!self.line.is_joined()).then(|| Instant::now() + self.grace);
        loop {
            let news = match deadline {
                None => self.news.recv().await,
                Some(deadline) => match tokio::time::timeout_at(deadline, self.news.recv()).await {
                    Ok(news) => news,
                    Err(_) => {
                        let seconds = self.grace.as_secs_f64();
                        let reason = format!("it is gone, and has not come back within {seconds} s");
                        return Err(ChatError::Refused { model: self.name.clone(), reason });
                    }
                },
            };
            match news {
                Some(News::Said(saying)) => return Ok(saying),
                Some(News::Piece(text)) => on_event(ReplyEvent::Text(text)),
                Some(News::Joined) => deadline = None,
                Some(News::Left) => deadline = Some(Instant::now() + self.grace),
                None => return Err(ChatError::InputEnded),
            }
        }
    }
}

impl ChatModel for Peer {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn source(&self) -> Source {
        self.source
    }

    fn reply<'a>(
        &'a mut self,
        request: ReplyRequest<'a>,
        on_event: &'a mut (dyn FnMut(ReplyEvent) + Send),
    ) -> BoxFuture<'a, Result<Reply, ChatError>> {
        /// Whoever is not waited for any more is not asked any more.
        struct Asked(Line);
        impl Drop for Asked {
            fn drop(&mut self) {
                self.0.excuse();
            }
        }
        let after = request.context.said.last().or(request.context.seed_prompt.as_ref());
        let turn = Turn { after: after.map_or(0, |said| wire_id(said.id)), word: request.control };
        async move {
            self.line.ask(turn);
            let _asked = Asked(self.line.clone());
            let Saying { text, word } = self.wait(on_event).await?;
            Ok(Reply {
                text,
                control: word,
                ids: None,
                reasoning: None,
                finish: Finish::Stop,
                usage: Usage::default(),
                surprise: Vec::new(),
            })
        }
        .boxed()
    }

    /// What was said before is on the line already, if anyone is to hear it.
    fn adopt(&mut self, _: &ReplyRequest<'_>, _: &Reply) {}
}

#[cfg(test)]
mod tests {
    use madrigal_agents::chat_model::Draw;
    use madrigal_agents::context::Context;
    use madrigal_agents::control::ControlWord;
    use madrigal_agents::sampling::Sampling;

    use super::*;
    use crate::line::ToAgent;

    const GRACE: Duration = Duration::from_secs(30);

    fn context() -> Context {
        Context {
            agent: "Ada".to_owned(),
            table: vec!["Ada".to_owned(), "Bob".to_owned()],
            instructions: String::new(),
            seed_prompt: None,
            said: Vec::new(),
        }
    }

    async fn reply(peer: &mut Peer, pieces: &mut Vec<ReplyEvent>) -> Result<Reply, ChatError> {
        let (context, sampling) = (context(), Sampling::default());
        let draw = Draw { seed: 0, seat: 0, turn: 1 };
        let control = Some(ControlWord::Start);
        let request = ReplyRequest { context: &context, control, sampling: &sampling, draw, listeners: &[] };
        peer.reply(request, &mut |event| pieces.push(event)).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_drops_has_time_to_come_back() {
        let (line, news) = Line::new();
        let mut peer = Peer::new("doctor".to_owned(), Source::Remote, line.clone(), news, GRACE);
        let (link, mut out) = mpsc::channel(8);
        let first = line.join(link, 0);
        let agent = async {
            assert_eq!(out.recv().await, Some(ToAgent::Turn(Turn { after: 0, word: Some(ControlWord::Start) })));
            line.piece(first, "I a".to_owned());
            line.leave(first);
            tokio::time::sleep(GRACE - Duration::from_millis(1)).await;
            let (link, mut out) = mpsc::channel(8);
            let second = line.join(link, 0);
            assert!(matches!(out.recv().await, Some(ToAgent::Turn(_))));
            let saying = Saying { text: "I am Ada.".to_owned(), word: Some(ControlWord::Bye) };
            line.say(second, Some(1), saying);
        };
        let mut pieces = Vec::new();
        let (reply, ()) = tokio::join!(reply(&mut peer, &mut pieces), agent);
        let reply = reply.unwrap();
        assert_eq!((reply.text.as_str(), reply.control), ("I am Ada.", Some(ControlWord::Bye)));
        assert_eq!(pieces, [ReplyEvent::Text("I a".to_owned())]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_stays_away_is_an_error_that_says_so() {
        let (line, news) = Line::new();
        let mut peer = Peer::new("doctor".to_owned(), Source::Remote, line.clone(), news, GRACE);
        let started = Instant::now();
        let error = reply(&mut peer, &mut Vec::new()).await.unwrap_err();
        assert_eq!(error.to_string(), "get a reply from doctor: it is gone, and has not come back within 30 s");
        assert_eq!(started.elapsed(), GRACE);
        // Nobody waits any more.
        let (link, mut out) = mpsc::channel(8);
        let connection = line.join(link, 0);
        assert!(out.try_recv().is_err());
        let saying = Saying { text: "late".to_owned(), word: None };
        assert_eq!(line.say(connection, Some(1), saying), crate::line::Taken::NotNow);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_waited_for_is_not_asked() {
        let (line, news) = Line::new();
        let mut peer = Peer::new("doctor".to_owned(), Source::Remote, line.clone(), news, GRACE);
        let (link, _out) = mpsc::channel(8);
        let connection = line.join(link, 0);
        let mut pieces = Vec::new();
        let dropped = tokio::time::timeout(Duration::from_secs(5), reply(&mut peer, &mut pieces)).await;
        assert!(dropped.is_err());
        let saying = Saying { text: "late".to_owned(), word: None };
        assert_eq!(line.say(connection, Some(1), saying), crate::line::Taken::NotNow);
    }
}
