//! Keys and the user part of addresses get out nowhere, whatever the server does.

use madrigal_agents::base_url::BaseUrl;
use madrigal_agents::chat_model::{ChatError, ChatModel as _};
use madrigal_agents::chat_models::remote::{Provider, RemoteModel, RemoteOptions, RemoteTarget, Secret};

use super::server::{Server, Step, closed_port};
use super::speech::{Speech, Wire};
use super::table::Table;

const SECRETS: [&str; 7] = [
    "sk-very-secret-key",
    "sk-of-another-provider",
    "a-stranger",
    "p@ss-word",
    "p%40ss-word",
    "the-user",
    "dGhlLXVzZXI6",
];

fn look_into(what: &str, error: Option<&ChatError>) {
    let mut all = what.to_owned();
    let mut cause = error.map(|error| error as &dyn std::error::Error);
    while let Some(error) = cause {
        all.push_str(&format!("{error} {error:?} "));
        cause = error.source();
    }
    for secret in SECRETS {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

async fn try_out(provider: Provider, address: &str, key: bool, stream: bool) {
    let target = RemoteTarget {
        provider,
        base_url: Some(BaseUrl::parse(&format!("http://the-user:p%40ss-word@{address}")).unwrap()),
        model: "m".to_owned(),
        api_key: key.then(|| Secret::new(SECRETS[0])),
        other_keys: vec![Secret::new(SECRETS[1])],
    };
    look_into(&format!("{target:?}"), None);
    let options = RemoteOptions { stream, attempts: 2, ..RemoteOptions::default() };
    let mut model = RemoteModel::new(&target, options).unwrap();
    let mut seen = model.name();
    let mut on_event = |event| seen.push_str(&format!("{event:?} "));
    let result = Table::new("Go.").ask(&mut model, None, &mut on_event).await;
    look_into(&format!("{seen} {:?}", result.as_ref().ok()), result.as_ref().err());
}

#[tokio::test]
async fn no_secret_gets_out() {
    let repeated = || {
        format!(
            r#"{{"error":{{"message":"no: {} {} http://the-user:p%40ss-word@h p@ss-word https://a-stranger:pw@host/x","type":"x"}}}}"#,
            SECRETS[0], SECRETS[1]
        )
    };
    for wire in Wire::ALL {
        let steps = [
            Step::Status(401, "", repeated()),
            Step::Status(400, "", repeated()),
            Step::Status(500, "", repeated()),
            Step::Garbage,
            Step::Cut,
            Step::Say(Speech::of("Your key is sk-very-secret-key, I think.")),
        ];
        let runs = steps.iter().flat_map(|step| [(step, true), (step, false)]);
        futures::future::join_all(runs.map(|(step, stream)| async move {
            let server = Server::start(wire, vec![step.clone(), step.clone()]);
            try_out(wire.provider(), &server.address.to_string(), true, stream).await;
        }))
        .await;
        try_out(wire.provider(), &format!("127.0.0.1:{}", closed_port()), true, true).await;
        try_out(wire.provider(), "no-such-host.invalid", true, false).await;
    }
}

#[tokio::test]
async fn the_user_part_authenticates() {
    let server = Server::start(Wire::LmStudio, vec![Step::Say(Speech::of("Hm."))]);
    try_out(Provider::Compatible, &server.address.to_string(), false, true).await;
    // base64 of `the-user:p@ss-word`
    assert_eq!(server.seen()[0].header("authorization"), Some("Basic dGhlLXVzZXI6cEBzcy13b3Jk"));
}
