//! Connections break between a request and its answer, in either direction.

use std::time::Duration;

use super::{Fault, Ground, Strike};
use crate::torture::proxy::Line;

/// What is lost with the connection.
pub(super) enum Loses {
    /// The server never hears of the call.
    Request,
    /// The server did the call, and the caller never hears of it.
    Answer,
}

pub(super) struct LineCut {
    pub(super) loses: Loses,
}

/// Every connection that is used meanwhile is cut, once.
const FOR: Duration = Duration::from_millis(300);

impl Fault for LineCut {
    fn name(&self) -> &'static str {
        match self.loses {
            Loses::Request => "request-lost",
            Loses::Answer => "answer-lost",
        }
    }

    fn strike<'a>(&'a self, ground: &'a mut Ground) -> Strike<'a> {
        Box::pin(async move {
            let line = match self.loses {
                Loses::Request => Line::LosesRequest,
                Loses::Answer => Line::LosesAnswer,
            };
            let before = ground.cluster.primary.front.lost();
            ground.mark(self.name());
            ground.cluster.primary.front.set(line);
            ground.listen_for(FOR).await;
            ground.cluster.primary.front.set(Line::Whole);
            Ok(ground.cluster.primary.front.lost() > before)
        })
    }
}
