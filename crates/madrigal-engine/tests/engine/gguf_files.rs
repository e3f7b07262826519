//! GGUF files that are well formed, and files that are not: a table of damages, each with the words that must name it.

use std::path::Path;

use madrigal_engine::gguf::{GgmlType, Gguf, Value};
use proptest::prelude::*;

use crate::fixtures::{fixture, testdata};

/// Writes GGUF the way the specification says, or with lies.
#[derive(Clone)]
pub(crate) struct Writer {
    magic: [u8; 4],
    version: u32,
    tensor_count: u64,
    key_count: u64,
    keys: Vec<u8>,
    tensors: Vec<u8>,
    data: Vec<u8>,
    alignment: usize,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            tensor_count: 0,
            key_count: 0,
            keys: Vec::new(),
            tensors: Vec::new(),
            data: Vec::new(),
            alignment: 32,
        }
    }

    pub(crate) fn key(mut self, name: &str, kind: u32, value: &[u8]) -> Self {
        self.key_count += 1;
        push_string(&mut self.keys, name);
        self.keys.extend(kind.to_le_bytes());
        self.keys.extend(value);
        self
    }

    pub(crate) fn u32(self, name: &str, value: u32) -> Self {
        self.key(name, 4, &value.to_le_bytes())
    }

    pub(crate) fn f32(self, name: &str, value: f32) -> Self {
        self.key(name, 6, &value.to_le_bytes())
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        let mut bytes = Vec::new();
        push_string(&mut bytes, value);
        self.key(name, 8, &bytes)
    }

    pub(crate) fn texts(self, name: &str, values: &[String]) -> Self {
        let mut bytes = 8_u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        for value in values {
            push_string(&mut bytes, value);
        }
        self.key(name, 9, &bytes)
    }

    /// A tensor whose table row may lie: `offset` is relative to the data section.
    fn tensor_row(mut self, name: &str, shape: &[u64], kind: u32, offset: u64) -> Self {
        self.tensor_count += 1;
        push_string(&mut self.tensors, name);
        self.tensors.extend((shape.len() as u32).to_le_bytes());
        for size in shape {
            self.tensors.extend(size.to_le_bytes());
        }
        self.tensors.extend(kind.to_le_bytes());
        self.tensors.extend(offset.to_le_bytes());
        self
    }

    /// An F32 tensor with its values.
    pub(crate) fn tensor(mut self, name: &str, shape: &[u64], values: &[f32]) -> Self {
        self.data.resize(self.data.len().next_multiple_of(self.alignment), 0);
        let offset = self.data.len() as u64;
        self.data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.tensor_row(name, shape, 0, offset)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.tensor_count.to_le_bytes());
        bytes.extend(self.key_count.to_le_bytes());
        bytes.extend(&self.keys);
        bytes.extend(&self.tensors);
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        bytes.extend(&self.data);
        bytes
    }
}

fn push_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn parse(bytes: &[u8]) -> Result<Gguf, String> {
    Gguf::parse(Path::new("x.gguf"), bytes).map_err(|error| error.to_string())
}

#[test]
fn every_type_of_value_is_read() {
    let nested: Vec<u8> = [
        &9_u32.to_le_bytes()[..],
        &2_u64.to_le_bytes(),
        &4_u32.to_le_bytes(),
        &1_u64.to_le_bytes(),
        &7_u32.to_le_bytes(),
        &0_u32.to_le_bytes(),
        &0_u64.to_le_bytes(),
    ]
    .concat();
    let shorts: Vec<u8> = [&3_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &[0xfe, 0xff, 5, 0]].concat();
    let writer = Writer::new()
        .key("u8", 0, &[200])
        .key("i8", 1, &[0x80])
        .key("u16", 2, &[1, 2])
        .key("i16", 3, &[0xff, 0xff])
        .key("i32", 5, &(-7_i32).to_le_bytes())
        .key("bool", 7, &[1])
        .key("u64", 10, &u64::MAX.to_le_bytes())
        .key("i64", 11, &i64::MIN.to_le_bytes())
        .key("f64", 12, &0.1_f64.to_le_bytes())
        .key("shorts", 9, &shorts)
        .key("nested", 9, &nested)
        .u32("u32", 70_000)
        .f32("f32", 0.5)
        .text("text", "sérieux")
        .texts("texts", &["a".to_owned(), String::new(), "ccc".to_owned()]);
    let gguf = parse(&writer.bytes()).unwrap();
    let get = |key: &str| gguf.get(key).unwrap();
    assert_eq!(get("u8").as_u32(), Some(200));
    assert_eq!(get("i8").as_i64(), Some(-128));
    assert_eq!(get("u16").as_u64(), Some(513));
    assert_eq!((get("i16").as_i64(), get("i16").as_u64()), (Some(-1), None));
    assert_eq!(get("i32").as_i64(), Some(-7));
    assert_eq!(get("bool").as_bool(), Some(true));
    assert_eq!((get("u64").as_u64(), get("u64").as_i64(), get("u64").as_u32()), (Some(u64::MAX), None, None));
    assert_eq!(get("i64").as_i64(), Some(i64::MIN));
    assert_eq!(*get("f64"), Value::Float(0.1));
    assert_eq!(get("shorts").as_u32s(), None);
    assert_eq!(get("u32").as_u32(), Some(70_000));
    assert_eq!(get("f32").as_f32(), Some(0.5));
    assert_eq!(get("text").as_str(), Some("sérieux"));
    let texts = get("texts").as_strings().unwrap();
    assert_eq!(texts.iter().collect::<Vec<_>>(), ["a", "", "ccc"]);
    assert_eq!((texts.len(), texts.get(2), texts.get(3)), (3, Some("ccc"), None));
    assert_eq!(get("nested").to_string(), "an array of 2");
}

#[test]
fn tensors_are_found_where_they_were_written() {
    let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let writer = Writer::new().tensor("a", &[3], &values[..3]).tensor("b", &[3, 2], &values);
    let gguf = parse(&writer.bytes()).unwrap();
    let b = &gguf.tensors[1];
    assert_eq!((b.name.as_str(), &b.shape[..], b.kind), ("b", &[3, 2][..], GgmlType::F32));
    assert_eq!(gguf.bytes(b), values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
}

#[test]
fn damage_is_named_with_its_place() {
    let good = Writer::new().u32("a", 1).tensor("t", &[8], &[0.0; 8]);
    let with = |change: &dyn Fn(&mut Writer)| {
        let mut writer = good.clone();
        change(&mut writer);
        writer.bytes()
    };
    let many = (1_u64 << 63).to_le_bytes();
    let array = |kind: u32, count: [u8; 8]| [&kind.to_le_bytes()[..], &count].concat();
    let mut deep = Vec::new();
    for _ in 0..100 {
        deep.extend(array(9, 1_u64.to_le_bytes()));
    }
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "magic `GGUF` (byte 0 of 0)"),
        ("magic", with(&|w| w.magic = *b"GGML"), "magic `GGUF` (byte 0"),
        ("version 1", with(&|w| w.version = 1), "GGUF version 1 is not supported, only 2 and 3 (byte 4"),
        ("version 9", with(&|w| w.version = 9), "GGUF version 9"),
        ("big-endian", with(&|w| w.version = 3_u32.swap_bytes()), "big-endian"),
        ("2^63 tensors", with(&|w| w.tensor_count = 1 << 63), "tensor `` appears twice"),
        ("2^63 keys", with(&|w| w.key_count = 1 << 63), "key `` appears twice"),
        ("key twice", good.clone().u32("a", 2).bytes(), "key `a` appears twice (byte 41"),
        ("tensor twice", good.clone().tensor("t", &[8], &[0.0; 8]).bytes(), "tensor `t` appears twice"),
        ("value type", good.clone().key("b", 99, &[]).bytes(), "key `b` has the unknown value type 99"),
        ("bool of 2", good.clone().key("b", 7, &[2]).bytes(), "is a boolean of value 2"),
        (
            "text of 2^63",
            good.clone().key("b", 8, &many).bytes(),
            "ends inside the value of key `b`: 9223372036854775808",
        ),
        ("array of 2^63 bytes", good.clone().key("b", 9, &array(0, many)).bytes(), "ends inside the value of key `b`"),
        ("array of 2^63 texts", good.clone().key("b", 9, &array(8, many)).bytes(), "ends inside the value of key `b`"),
        ("array of 2^63 arrays", good.clone().key("b", 9, &array(9, many)).bytes(), "ends inside the value of key `b`"),
        ("100 nested arrays", good.clone().key("b", 9, &deep).bytes(), "nests arrays too deeply"),
        ("no UTF-8", good.clone().key("b", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]).bytes(), "key `b` is not UTF-8"),
        ("long key", good.clone().u32(&"k".repeat(70_000), 1).bytes(), "is 70000 bytes long"),
        ("alignment 0", good.clone().u32("general.alignment", 0).bytes(), "`general.alignment` must be"),
        ("alignment 33", good.clone().u32("general.alignment", 33).bytes(), "`general.alignment` must be"),
        ("alignment as text", good.clone().text("general.alignment", "32").bytes(), "`general.alignment` must be"),
        ("5 dimensions", good.clone().tensor_row("u", &[1; 5], 0, 0).bytes(), "tensor `u`: it has 5 dimensions"),
        (
            "2^63 dimensions",
            {
                let mut writer = good.clone();
                push_string(&mut writer.tensors, "u");
                writer.tensors.extend(u32::MAX.to_le_bytes());
                writer.tensor_count += 1;
                writer.bytes()
            },
            "tensor `u`: it has 4294967295 dimensions",
        ),
        ("shape overflows", good.clone().tensor_row("u", &[1 << 62, 8], 0, 0).bytes(), "overflows"),
        ("bytes overflow", good.clone().tensor_row("u", &[1 << 62], 0, 0).bytes(), "overflows"),
        (
            "past the end",
            good.clone().tensor_row("u", &[9], 0, 0).bytes(),
            "tensor `u`: its 36 bytes at data offset 0 reach past the end",
        ),
        ("offset past the end", good.clone().tensor_row("u", &[1], 0, 1 << 40).bytes(), "reach past the end"),
        ("offset overflows", good.clone().tensor_row("u", &[1], 0, u64::MAX - 31).bytes(), "reach past the end"),
        (
            "offset unaligned",
            good.clone().tensor_row("u", &[1], 0, 4).bytes(),
            "offset 4 is no multiple of the alignment 32",
        ),
        (
            "overlap",
            good.clone().tensor("v", &[16], &[0.0; 16]).tensor_row("u", &[1], 0, 64).bytes(),
            "tensor `u`: its bytes overlap those of tensor `v`",
        ),
        ("same place", good.clone().tensor_row("u", &[8], 0, 0).bytes(), "overlap those of tensor `t`"),
        (
            "half a block",
            good.clone().tensor_row("u", &[33], 8, 0).bytes(),
            "its row of 33 is no multiple of Q8_0's block of 32",
        ),
    ];
    for (what, bytes, expected) in cases {
        let error = parse(&bytes).expect_err(what);
        assert!(error.starts_with("read `x.gguf`: "), "{what}: {error}");
        assert!(error.contains(expected), "{what}: {error}");
    }
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = Writer::new()
        .texts("tokenizer.ggml.tokens", &["a".to_owned(), "b".to_owned()])
        .f32("f", 1.0)
        .tensor("t", &[4, 2], &[0.0; 8])
        .bytes();
    assert!(parse(&bytes).is_ok());
    for length in 0..bytes.len() {
        assert!(parse(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
    }
}

#[test]
fn files_on_disk_are_mapped_and_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.gguf");
    std::fs::write(&path, Writer::new().tensor("t", &[2], &[1.0, 2.0]).bytes()).unwrap();
    assert_eq!(Gguf::open(&path).unwrap().tensors.len(), 1);
    for (path, expected) in [(folder.path().join("none.gguf"), "none.gguf"), (folder.path().to_owned(), "regular file")]
    {
        let error = Gguf::open(&path).unwrap_err().to_string();
        assert!(error.starts_with("open `") && error.contains(expected), "{error}");
    }
}

#[test]
fn vocabularies_without_tensors_are_fine() {
    let Some(path) = fixture("vocabularies_without_tensors_are_fine", "tokenizers/gpt2") else {
        return;
    };
    let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "gguf")) {
        let gguf = Gguf::open(&path).unwrap();
        let tokens = gguf.require("tokenizer.ggml.tokens", "an array of texts", Value::as_strings).unwrap();
        assert_eq!((gguf.tensors.len(), tokens.len()), (0, 50_257));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// No change of any bytes makes the reader panic or hand out a tensor outside of the file.
    #[test]
    fn changed_bytes_never_lead_outside_of_the_file(changes in proptest::collection::vec((0..2000_usize, any::<u8>()), 1..8)) {
        let mut bytes = std::fs::read(testdata("parity/llama-tied/model-q4_0.gguf")).unwrap();
        // The tables, where the lies would be, and a little of the data.
        let vocabulary = 15_000.min(bytes.len());
        for (at, byte) in changes {
            let at = if at < 1000 { at } else { vocabulary + at };
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
        }
        if let Ok(gguf) = parse(&bytes) {
            for tensor in &gguf.tensors {
                prop_assert!(tensor.range.end <= bytes.len());
                prop_assert_eq!(gguf.bytes(tensor).len(), tensor.range.len());
            }
        }
    }
}
