//! The conformance suite of chat models, on every wire.

use madrigal_agents::chat_model::ChatModel;
use madrigal_agents::chat_models::conformance::{Expectations, check};
use madrigal_agents::chat_models::remote::RemoteOptions;

use super::server::{Server, Step};
use super::speech::{Speech, Wire};

#[tokio::test]
async fn every_wire_conforms() {
    for wire in Wire::ALL {
        for stream in [true, false] {
            let server = Server::always(wire, Step::Say(Speech::of("It rains, and rains.")));
            let factory = || -> Box<dyn ChatModel> {
                Box::new(server.model(RemoteOptions { stream, attempts: 1, ..RemoteOptions::default() }))
            };
            let expected = Expectations { streams: true, heeds_control_words: true };
            let result = check(&factory, expected).await;
            assert_eq!(result, Ok(()), "{wire:?}, stream {stream}");
        }
    }
}
