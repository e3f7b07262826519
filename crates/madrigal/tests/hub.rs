//! `madrigal model pull`, `list` and `rm`, and pulled models in use, against a hub on this machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "cli/place.rs"]
#[expect(dead_code, reason = "shared with the tests of the other commands; each uses its part")]
mod place;
#[path = "hub/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use place::{Done, Place};
use serde_json::{Value, json};
use server::{COMMIT, Fault, Server, sha256};

const NEXT: &str = "2222222222222222222222222222222222222222";

fn testdata(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(path)).unwrap()
}

/// Bytes that are no model, for those who only fetch.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// A place whose programs know one hub.
struct Site {
    place: Place,
    server: Server,
}

impl Site {
    fn new<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Self {
        Self { place: Place::new(), server: Server::new(files) }
    }

    fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.place.command(args);
        command.env("HF_ENDPOINT", &self.server.endpoint);
        command
    }

    fn run(&self, args: &[&str]) -> Done {
        Done::of(self.command(args.iter().copied()).output().unwrap())
    }

    /// Pulls and gives the one line of JSON, beside which nothing is said.
    #[track_caller]
    fn pull(&self, name: &str) -> Value {
        let done = self.run(&["model", "pull", name, "--json"]);
        let mut lines = done.json();
        assert_eq!((lines.len(), done.stderr.as_str()), (1, ""));
        lines.remove(0)
    }

    /// Fails to pull with one line that holds `expected`.
    #[track_caller]
    fn refused(&self, name: &str, expected: &str) {
        let done = self.run(&["model", "pull", name, "--json"]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{}", done.stderr);
        assert!(done.stderr.contains(expected) && done.stderr.lines().count() == 1, "{expected}: {}", done.stderr);
        assert!(done.stderr.starts_with("error: failed to "), "{}", done.stderr);
    }

    fn cache(&self) -> PathBuf {
        self.place.path().join(".cache/huggingface/hub")
    }

    fn repo(&self, path: &str) -> PathBuf {
        self.cache().join("models--o--r").join(path)
    }

    /// Everything in the repository's folder, without its folders.
    fn files(&self) -> BTreeSet<String> {
        fn walk(folder: &Path, root: &Path, files: &mut BTreeSet<String>) {
            for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() {
                    walk(&path, root, files);
                } else {
                    files.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let mut files = BTreeSet::new();
        walk(&self.repo(""), &self.repo(""), &mut files);
        files
    }
}

#[test]
fn a_gguf_is_pulled_by_its_quantisation_and_used() {
    let model = testdata("parity/qwen3/model-q8_0.gguf");
    let site = Site::new([("m-Q8_0.gguf", model.clone()), ("m-Q4_0.gguf", content(999)), ("README.md", content(9))]);
    let hash = sha256(&model);
    let pulled = site.pull("hf:o/r:q8_0");
    let path = site.repo(&format!("snapshots/{COMMIT}/m-Q8_0.gguf"));
    let expected = json!({
        "name": "hf:o/r:m-Q8_0.gguf", "path": path, "commit": COMMIT, "bytes": model.len(), "downloaded": model.len(),
        "files": [{ "name": "m-Q8_0.gguf", "bytes": model.len(), "blob": hash }],
    });
    assert_eq!(pulled, expected);
    let blob = format!("blobs/{hash}");
    let link = format!("snapshots/{COMMIT}/m-Q8_0.gguf");
    assert_eq!(site.files(), BTreeSet::from([blob.clone(), link, "refs/main".to_owned()]));
    assert_eq!(fs::read(site.repo(&blob)).unwrap(), model);
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("../..").join(&blob));
    assert_eq!(fs::read_to_string(site.repo("refs/main")).unwrap(), COMMIT);

    assert_eq!(site.pull("hf:o/r:m-Q8_0.gguf")["downloaded"], 0);
    assert_eq!(site.server.ranges(), [None], "what is here is not fetched again");

    // Used without a hub.
    let list = site.place.run(["model", "list", "--json"]).json();
    let facts = json!([list[0]["name"], list[0]["where"], list[0]["quant"], list[0]["bytes"], list[0]["repacked"]]);
    assert_eq!(facts, json!(["hf:o/r:m-Q8_0.gguf", "cache", "Q8_0", model.len(), { "path": null, "bytes": 0 }]));
    assert!(site.place.run(["model", "list"]).stdout.contains("repack caches: none"));
    for name in ["hf:o/r", "hf:o/r:Q8_0", "hf:o/r:m-Q8_0.gguf"] {
        assert_eq!(site.place.run(["model", "show", name, "--json"]).json()[0]["path"], json!(path), "{name}");
    }
    let missing = site.place.run(["model", "show", "hf:o/r:Q4_0"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains(" model pull hf:o/r:Q4_0`"), "{}", missing.stderr);
}

#[test]
fn a_folder_is_pulled_with_the_shards_that_its_index_names() {
    let weights = testdata("parity/qwen3/model.safetensors");
    let index = json!({ "weight_map": { "a": "model-00001-of-00001.safetensors" } }).to_string();
    let folder = |weights: &[(&'static str, Vec<u8>)]| {
        let mut files = vec![
            ("config.json", testdata("parity/qwen3/config.json")),
            ("tokenizer.json", testdata("parity/qwen3/tokenizer.json")),
            ("1_Pooling/config.json", content(5)),
            ("pytorch_model.bin", content(5)),
            ("other.safetensors", content(5)),
        ];
        files.extend_from_slice(weights);
        files
    };
    let whole = [("model.safetensors", weights.clone())];
    let sharded = [("model.safetensors.index.json", index.into_bytes()), ("model-00001-of-00001.safetensors", weights)];
    for weights in [&whole[..], &sharded] {
        let site = Site::new(folder(weights));
        let pulled = site.pull("hf:o/r");
        let names: BTreeSet<&str> =
            pulled["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
        let mut expected = BTreeSet::from(["config.json", "tokenizer.json", "1_Pooling/config.json"]);
        expected.extend(weights.iter().map(|(name, _)| *name));
        assert_eq!(names, expected);
        assert_eq!(pulled["name"], "hf:o/r");
        assert_eq!(pulled["path"], json!(site.repo(&format!("snapshots/{COMMIT}"))));
        let logits = |model: &str| site.place.run(["model", "logits", model, "--ids", "1,2,3", "--json"]).json();
        let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/parity/qwen3");
        assert_eq!(logits("hf:o/r"), logits(local.to_str().unwrap()));
        let list = site.place.run(["model", "list", "--json"]).json();
        assert_eq!((list.len(), &list[0]["name"]), (1, &json!("hf:o/r")));
        // Without one of its shards it is not there.
        fs::remove_file(site.repo(&format!("snapshots/{COMMIT}/{}", weights.last().unwrap().0))).unwrap();
        assert!(site.place.run(["model", "show", "hf:o/r"]).stderr.contains(" model pull hf:o/r`"));
    }
}

#[test]
fn split_models_are_pulled_and_deleted_whole() {
    let names = ["Q2_K/m-Q2_K-00001-of-00002.gguf", "Q2_K/m-Q2_K-00002-of-00002.gguf"];
    let site = Site::new([(names[0], content(300)), (names[1], content(400)), ("m-Q8_0.gguf", content(300))]);
    let pulled = site.pull("hf:o/r:Q2_K");
    assert_eq!((&pulled["name"], &pulled["bytes"]), (&json!(format!("hf:o/r:{}", names[0])), &json!(700)));
    // Its content is that of the first part.
    assert_eq!(site.pull("hf:o/r:Q8_0")["downloaded"], 0);
    let list = site.place.run(["model", "list", "--json"]).json();
    let sizes: Vec<&Value> = list.iter().map(|line| &line["bytes"]).collect();
    assert_eq!(sizes, [&json!(700)], "one model, and a second name of its first part");

    let asked = site.run(&["model", "rm", "hf:o/r:Q2_K"]);
    assert_eq!(asked.code, Some(2), "nobody is here to be asked");
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    assert_eq!(site.files().len(), 6);
    let gone = site.run(&["model", "rm", "hf:o/r:Q2_K", "--yes", "--json"]).json();
    assert_eq!(gone, [json!({ "name": "hf:o/r:Q2_K", "bytes": 400 })], "what the other file shares stays");
    let (blob, link) = (format!("blobs/{}", sha256(&content(300))), format!("snapshots/{COMMIT}/m-Q8_0.gguf"));
    assert_eq!(site.files(), BTreeSet::from([blob, link, "refs/main".to_owned()]));
    assert!(!site.repo(&format!("snapshots/{COMMIT}/Q2_K")).exists());
    assert_eq!(site.run(&["model", "rm", "hf:o/r:Q2_K", "--yes"]).code, Some(1), "it is gone");
    assert_eq!(site.run(&["model", "rm", "hf:o/r:Q8_0", "--yes"]).code, Some(0));
    assert!(!site.repo("").exists(), "nothing was left");
}

#[test]
fn rm_deletes_nothing_outside_the_cache() {
    let site = Site::new([("m.gguf", content(300))]);
    let own = site.place.write("own.gguf", "mine");
    for (name, code, expected) in [
        ("own.gguf", 2, "no model of a hub"),
        ("file:own.gguf", 2, "no model of a hub"),
        ("hf:../..", 2, "hf:OWNER/REPO"),
        ("hf:o/r:../../../own.gguf", 2, "hf:OWNER/REPO"),
        ("hf:o/gone", 1, "it is not in"),
    ] {
        let done = site.run(&["model", "rm", name, "--yes"]);
        assert_eq!(done.code, Some(code), "{name}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{name}: {}", done.stderr);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        let elsewhere = site.place.path().join("elsewhere");
        fs::create_dir_all(elsewhere.join("snapshots").join(COMMIT)).unwrap();
        fs::write(elsewhere.join("snapshots").join(COMMIT).join("m.gguf"), "theirs").unwrap();
        fs::create_dir_all(site.cache()).unwrap();
        symlink(&elsewhere, site.cache().join("models--o--linked")).unwrap();
        for name in ["hf:o/linked", "hf:o/linked:m.gguf"] {
            let done = site.run(&["model", "rm", name, "--yes"]);
            assert!(done.stderr.contains("lies outside the cache"), "{name}: {}", done.stderr);
        }
        // A link of a snapshot goes; what it leads to outside stays.
        site.pull("hf:o/r");
        symlink(&own, site.repo(&format!("snapshots/{COMMIT}/led-out.gguf"))).unwrap();
        assert_eq!(site.run(&["model", "rm", "hf:o/r:led-out.gguf", "--yes"]).code, Some(0));
        assert!(elsewhere.join("snapshots").join(COMMIT).join("m.gguf").exists());
    }
    assert_eq!(fs::read_to_string(own).unwrap(), "mine");
}

#[test]
fn a_connection_that_is_cut_goes_on_where_it_was() {
    let model = content(100_000);
    let site = Site::new([("m.gguf", model.clone())]);
    site.server.fail("GET", true, [Fault::Cut(30_000), Fault::Status(503, ""), Fault::Cut(20_000)]);
    let done = site.run(&["model", "pull", "hf:o/r"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "hf:o/r:m.gguf\n"), "{}", done.stderr);
    assert!(done.stderr.contains("fetching m.gguf (97.7 KiB)") && !done.stderr.contains('\r'), "{}", done.stderr);
    let ranges = site.server.ranges();
    let from = |bytes: usize| Some(format!("bytes={bytes}-"));
    assert_eq!(ranges, [None, from(30_000), from(30_000), from(50_000)]);
    assert_eq!(fs::read(site.repo(&format!("blobs/{}", sha256(&model)))).unwrap(), model);
}

#[test]
fn a_store_without_ranges_is_read_from_the_beginning() {
    let model = content(100_000);
    let site = Site::new([("m.gguf", model.clone())]);
    site.server.fail("GET", true, [Fault::Cut(30_000), Fault::NoRange]);
    assert_eq!(site.pull("hf:o/r")["bytes"], 100_000);
    assert_eq!(fs::read(site.repo(&format!("blobs/{}", sha256(&model)))).unwrap(), model);
}

#[test]
fn what_passes_is_tried_again() {
    let site = Site::new([("m.gguf", content(1000))]);
    site.server.fail("GET", false, [Fault::Status(503, ""), Fault::Status(429, "")]);
    site.server.fail("HEAD", false, [Fault::Status(500, "")]);
    assert_eq!(site.pull("hf:o/r")["bytes"], 1000);
    let patience = Site::new([("m.gguf", content(1000))]);
    patience.server.fail("GET", false, vec![Fault::Status(503, ""); 9]);
    patience.refused("hf:o/r", "answers 503; try again later");
    assert_eq!(patience.server.log().len(), 5);
}

/// Starts a pull whose store falls silent after some bytes, and waits until those are on the disk.
#[track_caller]
fn hanging(site: &Site, bytes: usize, model: &[u8]) -> Child {
    site.server.fail("GET", true, [Fault::Hang(bytes)]);
    let mut child =
        site.command(["model", "pull", "hf:o/r"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let path = site.repo(&format!("blobs/{}.incomplete", sha256(model)));
    for _ in 0..3000 {
        if fs::metadata(&path).is_ok_and(|there| there.len() == bytes as u64) {
            return child;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("{} does not grow to {bytes} bytes", path.display());
}

#[test]
fn a_program_that_was_killed_goes_on_where_it_was() {
    let model = content(100_000);
    let site = Site::new([("m.gguf", model.clone())]);
    let mut child = hanging(&site, 40_000, &model);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!site.repo("refs/main").exists(), "nothing is current that is not whole");
    assert!(site.run(&["model", "show", "hf:o/r"]).stderr.contains("model pull hf:o/r"));
    let pulled = site.pull("hf:o/r");
    assert_eq!(pulled["downloaded"], 60_000);
    assert_eq!(site.server.ranges(), [None, Some("bytes=40000-".to_owned())]);
    assert_eq!(fs::read(site.repo(&format!("blobs/{}", sha256(&model)))).unwrap(), model);
}

#[test]
fn two_programs_fetch_a_file_once() {
    let model = content(100_000);
    let site = Site::new([("m.gguf", model.clone())]);
    let mut first = hanging(&site, 40_000, &model);
    let mut second =
        site.command(["model", "pull", "hf:o/r"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stderr = BufReader::new(second.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("waiting for another program"), "{line}");
    let busy = site.run(&["model", "rm", "hf:o/r", "--yes"]);
    assert!(busy.stderr.contains("right now"), "{}", busy.stderr);
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(second.wait().unwrap().success());
    assert_eq!(site.server.ranges(), [None, Some("bytes=40000-".to_owned())]);

    let site = Site::new([("m.gguf", model.clone())]);
    let children: Vec<Child> = (0..4)
        .map(|_| site.command(["model", "pull", "hf:o/r", "--json"]).stdout(Stdio::null()).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(site.server.ranges(), [None]);
    assert_eq!(fs::read(site.repo(&format!("blobs/{}", sha256(&model)))).unwrap(), model);
}

#[test]
fn content_that_is_not_what_the_hub_says_is_not_kept() {
    let model = content(100_000);
    let site = Site::new([("m.gguf", model.clone()), ("config.json", content(50))]);
    site.server.fail("GET", true, [Fault::Garbage]);
    site.refused("hf:o/r", &format!("({} is expected, ", sha256(&model)));
    assert_eq!(site.files(), BTreeSet::new());
    site.server.fail("GET", true, [Fault::Excess]);
    site.refused("hf:o/r", "more came than the 100000 bytes");
    // What an earlier program left is not believed: it is fetched anew.
    let part = site.repo(&format!("blobs/{}.incomplete", sha256(&model)));
    fs::write(&part, vec![7; 60_000]).unwrap();
    assert_eq!(site.pull("hf:o/r")["downloaded"], 140_000);
    // Small files too, whose hash is git's.
    let folder =
        Site::new([("config.json", content(50)), ("tokenizer.json", content(60)), ("model.safetensors", model)]);
    folder.server.fail("GET", false, [Fault::Without(&[]), Fault::Garbage]);
    folder.refused("hf:o/r", "config.json: its content is not what the hub says");
    assert_eq!(folder.pull("hf:o/r")["name"], "hf:o/r");
}

#[test]
fn refusals_say_what_to_do() {
    let cases: [(&str, (&str, bool), Fault, &str); 18] = [
        ("hf:o/r", ("GET", false), Fault::Status(401, "GatedRepo"), "accept its terms: do so at http://127.0.0.1:"),
        (
            "hf:o/r",
            ("HEAD", false),
            Fault::Status(403, "GatedRepo"),
            "/o/r in a browser, make a token at http://127.0.0.1:",
        ),
        ("hf:o/r", ("HEAD", false), Fault::Status(403, ""), "set HF_TOKEN"),
        ("hf:o/r", ("GET", false), Fault::Status(401, ""), "no such repository, or it is private"),
        ("hf:o/r", ("GET", false), Fault::Status(401, "RepoNotFound"), "no such repository, or it is private"),
        ("hf:o/r", ("GET", false), Fault::Status(418, ""), "answers 418"),
        ("hf:o/r", ("HEAD", false), Fault::Status(404, ""), "get m.gguf: the hub has no such file"),
        ("hf:o/r", ("GET", true), Fault::Status(403, ""), "get "),
        ("hf:o/r", ("GET", false), Fault::Body("<html>".to_owned()), "the list of files of o/r: expected value"),
        ("hf:o/r", ("GET", false), Fault::Body("{}".to_owned()), "key `sha`"),
        ("hf:o/r", ("GET", false), Fault::Body(format!(r#"{{"sha": "{COMMIT}"}}"#)), "key `siblings`"),
        ("hf:o/r", ("HEAD", false), Fault::Without(&["etag", "x-linked-etag"]), "the hub gives no checksum"),
        ("hf:o/r", ("HEAD", false), Fault::With("x-linked-etag", "\"abc\"".to_owned()), "the hub gives no checksum"),
        ("hf:o/r", ("HEAD", false), Fault::With("x-repo-commit", NEXT.to_owned()), "another commit"),
        (
            "hf:o/r",
            ("HEAD", false),
            Fault::With("x-linked-size", "1000000000000000000".to_owned()),
            "909494.7 TiB are needed",
        ),
        ("hf:o/r", ("GET", false), Fault::Location("file:///etc/passwd".to_owned()), "no web address"),
        ("hf:o/r:Q9_9", ("HEAD", false), Fault::NoRange, "no `Q9_9`; there are m.gguf"),
        ("hf:x/y", ("HEAD", false), Fault::NoRange, "no such repository"),
    ];
    for (name, (method, at_store), fault, expected) in cases {
        let site = Site::new([("m.gguf", content(1000))]);
        let shown = format!("{fault:?}");
        site.server.fail(if method == "HEAD" { "HEAD" } else { "GET" }, at_store, [fault]);
        let done = site.run(&["model", "pull", name]);
        assert_eq!(done.code, Some(1), "{shown}: {}", done.stderr);
        let last = done.stderr.lines().last().unwrap();
        assert!(last.starts_with("error: failed to ") && last.contains(expected), "{shown}: {last}");
        assert!(!site.repo("refs").exists(), "{shown}");
    }
    let site = Site::new([("m.gguf", content(1000))]);
    for (name, value, code, expected) in [
        ("HF_HUB_OFFLINE", "1", 1, "HF_HUB_OFFLINE forbids it"),
        ("HF_ENDPOINT", "nowhere", 2, "read HF_ENDPOINT"),
        ("HF_ENDPOINT", "http://127.0.0.1:1", 1, "reach 127.0.0.1:1: "),
    ] {
        let done = Done::of(site.command(["model", "pull", "hf:o/r", "--json"]).env(name, value).output().unwrap());
        assert_eq!(done.code, Some(code), "{value}");
        assert!(done.stderr.contains(expected), "{}", done.stderr);
    }
    let loops = Site::new([("m.gguf", content(1000))]);
    loops.server.fail("GET", false, vec![Fault::Location("/again".to_owned()); 20]);
    loops.refused("hf:o/r", "it points on and on");
    assert_eq!(site.run(&["model", "pull", "ollama:x"]).code, Some(2));
}

#[test]
fn names_from_a_hub_cannot_leave_the_cache() {
    for name in
        ["../../../../evil.gguf", "/tmp/evil.gguf", "a/../../evil.gguf", "a\\..\\evil.gguf", "C:evil.gguf", "a//b.gguf"]
    {
        let site = Site::new([("m.gguf", content(1000))]);
        let list = json!({ "sha": COMMIT, "siblings": [{ "rfilename": "m.gguf" }, { "rfilename": name }] });
        site.server.fail("GET", false, [Fault::Body(list.to_string())]);
        site.refused("hf:o/r", "would lie outside the repository's folder");
        assert!(!site.cache().exists(), "{name}");
    }
    for commit in ["../../../evil", "main", "", &"1".repeat(39)] {
        let site = Site::new([("m.gguf", content(1000))]);
        let list = json!({ "sha": commit, "siblings": [{ "rfilename": "m.gguf" }] });
        site.server.fail("GET", false, [Fault::Body(list.to_string())]);
        site.refused("hf:o/r", "key `sha`");
        assert!(!site.cache().exists(), "{commit}");
    }
    let index = json!({ "weight_map": { "a": "../../../evil.safetensors" } }).to_string();
    let files = ["config.json", "tokenizer.json"].map(|name| (name, content(50)));
    let site = Site::new(files.into_iter().chain([("model.safetensors.index.json", index.into_bytes())]));
    site.refused("hf:o/r", "`weight_map` names something that is no plain file");
    let tag = format!("\"{}\"", "../".repeat(21) + "x");
    let site = Site::new([("m.gguf", content(1000))]);
    site.server.fail("HEAD", false, [Fault::With("x-linked-etag", tag)]);
    site.refused("hf:o/r", "no checksum");
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let secret = "hf_verySecret";
    let site = Site::new([("m.gguf", content(1000))]);
    let with = |site: &Site, name: &str| {
        let mut command = site.command(["model", "pull", name]);
        Done::of(command.env("HF_TOKEN", secret).output().unwrap())
    };
    assert_eq!(with(&site, "hf:old/name").code, Some(0), "a repository that was renamed is followed");
    let log = site.server.log();
    assert!(log.iter().any(|request| request.at_store));
    for request in &log {
        let expected = (!request.at_store).then(|| format!("Bearer {secret}"));
        assert_eq!(request.authorization, expected, "{} {}", request.method, request.path);
    }
    for fault in [Fault::Status(401, ""), Fault::Status(403, "GatedRepo"), Fault::Status(500, "")] {
        let site = Site::new([("m.gguf", content(1000))]);
        site.server.fail("GET", false, vec![fault; 9]);
        let done = with(&site, "hf:o/r");
        assert_eq!(done.code, Some(1));
        assert!(!done.stderr.contains(secret), "{}", done.stderr);
        let user = site.server.endpoint.replace("http://", "http://ada:pa55@");
        let mut command = site.command(["model", "pull", "hf:o/r"]);
        let done = Done::of(command.env("HF_ENDPOINT", user).output().unwrap());
        assert!(!done.stderr.contains("pa55"), "{}", done.stderr);
    }
    // The token that was kept by a login.
    let site = Site::new([("m.gguf", content(1000))]);
    fs::create_dir_all(site.place.path().join(".cache/huggingface")).unwrap();
    site.place.write(".cache/huggingface/token", "hf_kept\n");
    site.pull("hf:o/r");
    assert_eq!(site.server.log()[0].authorization.as_deref(), Some("Bearer hf_kept"));
}

#[test]
fn the_cache_is_where_hugging_face_keeps_it() {
    let site = Site::new([("m.gguf", content(1000))]);
    for (name, value, expected) in [
        ("HF_HOME", "home", "home/hub"),
        ("HF_HUB_CACHE", "cache", "cache"),
        ("XDG_CACHE_HOME", "xdg", "xdg/huggingface/hub"),
    ] {
        let value = site.place.path().join(value);
        let done = Done::of(site.command(["model", "pull", "hf:o/r"]).env(name, value).output().unwrap());
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(site.place.path().join(expected).join("models--o--r/refs/main").is_file(), "{name}");
    }
}

/// The header of the run that `lines` tell of.
fn header(site: &Site, lines: &[Value]) -> Value {
    let text = fs::read_to_string(place::journal(&site.place, lines)).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[test]
fn a_run_keeps_to_the_file_that_it_began_with() {
    let model = testdata("parity/qwen3/model-q8_0.gguf");
    let site = Site::new([("m-Q8_0.gguf", model.clone())]);
    let talk = ["talk", "physicist", "sceptic", "--model", "hf:o/r", "--turns", "2", "--max-tokens", "8", "--json"];
    let early = site.run(&talk);
    assert_ne!(early.code, Some(0));
    assert!(early.stdout.contains("model pull hf:o/r`"), "{}", early.stdout);
    assert!(site.server.log().is_empty(), "only a pull goes to a hub");

    site.pull("hf:o/r");
    let asked = site.server.log().len();
    let lines = site.run(&talk).json();
    let recorded = header(&site, &lines);
    assert_eq!(recorded["files"][0]["model"], "hf:o/r:m-Q8_0.gguf");
    assert_eq!(recorded["files"][0]["sha256"], json!(sha256(&model)));
    assert!(recorded["config"].to_string().contains("hf:o/r:m-Q8_0.gguf"));

    // The repository moves on.
    let other = testdata("parity/llama-tied/model-q4_0.gguf");
    site.server.publish(NEXT, &[("m-Q8_0.gguf", other.clone())]);
    site.pull("hf:o/r:m-Q8_0.gguf");
    assert_eq!(header(&site, &site.run(&talk).json())["files"][0]["sha256"], json!(sha256(&other)));
    let run = lines.last().unwrap()["run"].as_str().unwrap();
    assert_eq!(site.run(&["run", "verify", run, "--json"]).json()[0]["result"], "ok");
    let longer = site.run(&["run", "resume", run, "--turns", "+1", "--json"]).json();
    assert_eq!(longer.len(), 2);
    assert_eq!(site.run(&["run", "verify", run, "--json"]).json()[0]["result"], "ok");
    assert_eq!(site.server.log().len(), asked + 4, "a list, a HEAD and a GET that led to another, of the second pull");
}

#[test]
fn a_hash_is_believed_by_runs_and_by_no_verification() {
    let site = Site::new([]);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/parity/qwen3/model-q8_0.gguf");
    let model = format!("file:{}", model.canonicalize().unwrap().display());
    let talk = ["talk", "physicist", "sceptic", "--model", &model, "--turns", "1", "--max-tokens", "4", "--json"];
    let recorded = |lines: &[Value]| header(&site, lines)["files"][0]["sha256"].as_str().unwrap().to_owned();
    let truth = recorded(&site.run(&talk).json());
    let entries: Vec<PathBuf> = fs::read_dir(site.place.path().join(".cache/madrigal/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(entries.len(), 1);
    let lie = "5".repeat(64);
    let text = fs::read_to_string(&entries[0]).unwrap();
    fs::write(&entries[0], text.replace(&truth, &lie)).unwrap();
    let lines = site.run(&talk).json();
    assert_eq!(recorded(&lines), lie, "the file is not read again");
    let run = lines.last().unwrap()["run"].as_str().unwrap();
    let verified = site.run(&["run", "verify", run, "--json"]);
    assert_eq!((verified.code, &verified.lines()[0]["result"]), (Some(1), &json!("differs")));
    assert_eq!(recorded(&site.run(&talk).json()), truth, "what a verification reads is known from then on");
}

/// Runs Python with Hugging Face's own library, in the place of the site, or says that `test` is skipped.
fn huggingface_hub(test: &str, site: &Site, script: &str) -> Option<Vec<String>> {
    let python = std::env::var_os("MADRIGAL_PEERS").map(|folder| Path::new(&folder).join("venv/bin/python"));
    let Some(python) = python.filter(|python| python.exists()) else {
        place::skip(test, "MADRIGAL_PEERS names no folder with venv/bin/python; scripts/peers/install.sh makes one");
        return None;
    };
    let mut command = Command::new(python);
    command.args(["-c", script]).current_dir(site.place.path()).env("HOME", site.place.path());
    for name in ["HF_HOME", "HF_HUB_CACHE", "HF_TOKEN", "XDG_CACHE_HOME"] {
        command.env_remove(name);
    }
    command
        .env("HF_ENDPOINT", &site.server.endpoint)
        .env("HF_HUB_DISABLE_XET", "1")
        .env("HF_HUB_DISABLE_TELEMETRY", "1");
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    Some(done.stdout.lines().map(str::to_owned).collect())
}

#[test]
fn hugging_faces_own_library_shares_the_cache() {
    let test = "hugging_faces_own_library_shares_the_cache";
    let model = testdata("parity/qwen3/model-q8_0.gguf");
    let path = |site: &Site| site.repo(&format!("snapshots/{COMMIT}/m-Q8_0.gguf")).display().to_string();
    let theirs = Site::new([("m-Q8_0.gguf", model.clone()), ("config.json", content(50))]);
    let get = "from huggingface_hub import hf_hub_download as get\n\
               print(get('o/r', 'm-Q8_0.gguf'))\n\
               print(get('o/r', 'config.json'))";
    let Some(got) = huggingface_hub(test, &theirs, get) else { return };
    assert_eq!(got[0], path(&theirs));
    let asked = theirs.server.ranges().len();
    assert_eq!(theirs.place.run(["model", "show", "hf:o/r:Q8_0", "--json"]).json()[0]["path"], json!(path(&theirs)));
    assert_eq!(theirs.pull("hf:o/r:Q8_0")["downloaded"], 0);
    assert_eq!(theirs.server.ranges().len(), asked);

    let ours = Site::new([("m-Q8_0.gguf", model.clone()), ("m-Q4_0.gguf", content(400))]);
    ours.pull("hf:o/r:Q8_0");
    ours.pull("hf:o/r:Q4_0");
    ours.run(&["model", "rm", "hf:o/r:Q4_0", "--yes"]);
    let look = "from huggingface_hub import hf_hub_download as get, scan_cache_dir\n\
                print(get('o/r', 'm-Q8_0.gguf', local_files_only=True))\n\
                info = scan_cache_dir()\n\
                print(info.size_on_disk, len(info.warnings), [(r.repo_id, r.nb_files, sorted(r.refs)) for r in info.repos])";
    let Some(got) = huggingface_hub(test, &ours, look) else { return };
    assert_eq!(got, [path(&ours), format!("{} 0 [('o/r', 1, ['main'])]", model.len())]);
}
