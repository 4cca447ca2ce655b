//! Arguments encrypted at rest, where a process is given keys for it.
//!
//! Stored is `{"$encrypted": "<key id>:<base64>"}` in the column of the arguments: nonce and AES-256-GCM-SIV (RFC 8452)
//! of their JSON, with the kind as associated data, so that one kind's can't be passed off as another's. The nonce is a
//! keyed hash of kind and JSON. Equal arguments of a kind therefore look equal under one key, which
//! `enqueue_unless_open` needs, and which is what whoever reads the table learns, besides their length.
//!
//! The first key encrypts, each decrypts. A key's id is a keyed hash, too, and tells nothing of it.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::{self, Write},
    str::FromStr,
    sync::Arc,
};

use super::{admin::Job, client::Client};
use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac::{self, HMAC_SHA256},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::de::Error as _;
use serde_json::{Value, json, value::RawValue};

/// The one field of encrypted arguments.
const FIELD: &str = "$encrypted";
/// As Postgres writes them, around the rest.
const AROUND: (&str, &str) = ("{\"$encrypted\": \"", "\"}");
/// Bytes of a key.
const KEY_LEN: usize = 32;
/// Arguments that are nested deeper can't be decoded again either.
const DEEPEST: usize = 128;

/// The keys. Cheap to clone.
#[derive(Clone)]
pub struct ArgsCipher(Arc<Keys>);

struct Keys {
    encrypts: Key,
    /// Those that only decrypt.
    others: Vec<Key>,
}

struct Key {
    id: String,
    aead: LessSafeKey,
    nonces: hmac::Key,
}

/// Why arguments stay encrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Sealed {
    #[error("the arguments are encrypted with the key {0}, which this worker does not have (JOB_ARGS_KEYS)")]
    NoKey(String),
    #[error("the arguments can't be decrypted: they were changed, or are another kind's")]
    Broken,
}

/// Keys in base64 with commas between them: the first encrypts, each decrypts. Errors name no key.
impl FromStr for ArgsCipher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (place, part) in text.split(',').enumerate() {
            let bytes = BASE64_STANDARD
                .decode(part.trim())
                .map_err(|_| format!("key {} is no base64 (openssl rand -base64 32 makes one)", place + 1))?;
            let length = bytes.len();
            let key = Key::derive(&bytes)
                .ok_or_else(|| format!("key {} has {length} bytes: {KEY_LEN} are needed", place + 1))?;
            if keys.iter().any(|other: &Key| other.id == key.id) {
                return Err(format!("key {} is there twice", place + 1));
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let encrypts = keys.next().ok_or("no key is given")?;
        Ok(Self(Arc::new(Keys { encrypts, others: keys.collect() })))
    }
}

/// No log shows the keys.
impl fmt::Debug for ArgsCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArgsCipher({}, {} more)", self.0.encrypts.id, self.0.others.len())
    }
}

impl ArgsCipher {
    /// Encrypts the arguments of a kind, given as JSON.
    pub(super) fn seal(&self, kind: &str, json: &str) -> Result<String, String> {
        self.0.encrypts.seal(kind, &sorted(json)?)
    }

    /// What the arguments may be stored as: under each key, and as they are from before there was one.
    pub(super) fn all_seals(&self, kind: &str, json: String) -> Result<Vec<String>, String> {
        let plain = sorted(&json)?;
        let keys = std::iter::once(&self.0.encrypts).chain(&self.0.others);
        let mut all = keys.map(|key| key.seal(kind, &plain)).collect::<Result<Vec<_>, _>>()?;
        all.push(json);
        Ok(all)
    }

    fn key(&self, id: &str) -> Option<&Key> {
        std::iter::once(&self.0.encrypts).chain(&self.0.others).find(|key| key.id == id)
    }
}

impl Key {
    /// Keys for one purpose each; none if it has not the length of one.
    fn derive(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != KEY_LEN {
            return None;
        }
        let root = hmac::Key::new(HMAC_SHA256, bytes);
        let derived = |purpose: &str| hmac::sign(&root, format!("job arguments: {purpose}").as_bytes());
        let id = derived("id").as_ref().iter().take(8).fold(String::new(), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        });
        Some(Self {
            id,
            aead: LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, derived("encryption").as_ref()).ok()?),
            nonces: hmac::Key::new(HMAC_SHA256, derived("nonces").as_ref()),
        })
    }

    fn seal(&self, kind: &str, plain: &str) -> Result<String, String> {
        let mut hash = hmac::Context::with_key(&self.nonces);
        // The length keeps kind and arguments apart.
        hash.update(&(kind.len() as u64).to_be_bytes());
        hash.update(kind.as_bytes());
        hash.update(plain.as_bytes());
        let mut nonce = [0; NONCE_LEN];
        nonce.iter_mut().zip(hash.sign().as_ref()).for_each(|(to, from)| *to = *from);
        let mut sealed = plain.as_bytes().to_vec();
        self.aead
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(kind.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| "the arguments can't be encrypted".to_owned())?;
        let bytes = BASE64_STANDARD.encode([&nonce[..], &sealed].concat());
        Ok(format!("{}{}:{bytes}{}", AROUND.0, self.id, AROUND.1))
    }

    fn open(&self, kind: &str, base64: &str) -> Option<String> {
        let mut bytes = BASE64_STANDARD.decode(base64).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.aead.open_in_place(nonce, Aad::from(kind.as_bytes()), sealed).ok()?;
        String::from_utf8(plain.to_vec()).ok()
    }
}

/// Whether plain arguments might be taken for encrypted ones.
pub(super) fn is_reserved(json: &str) -> bool {
    json.starts_with("{\"$encrypted\":")
}

/// The arguments as their kind knows them, of what Postgres has.
pub(super) fn open<'a>(
    cipher: Option<&ArgsCipher>,
    kind: &str,
    stored: &'a str,
) -> Result<Cow<'a, str>, Sealed> {
    let token = stored.strip_prefix(AROUND.0).and_then(|rest| rest.strip_suffix(AROUND.1));
    match token.filter(|token| !token.contains('"')) {
        Some(token) => open_token(cipher, kind, token).map(Cow::Owned),
        None => Ok(Cow::Borrowed(stored)),
    }
}

impl Client {
    /// The job as operators see it: with its arguments decrypted, if this process has the key.
    pub(super) fn show(&self, mut job: Job) -> Job {
        job.args = shown(self.cipher(), &job.kind, job.args);
        job
    }
}

/// The arguments as operators see them: where they can't be decrypted, only that they are encrypted, and with which key.
pub(super) fn shown(cipher: Option<&ArgsCipher>, kind: &str, stored: Value) -> Value {
    let fields = stored.as_object().filter(|fields| fields.len() == 1);
    let Some(token) = fields.and_then(|fields| fields.get(FIELD)?.as_str()) else { return stored };
    let opened = open_token(cipher, kind, token).ok();
    opened
        .and_then(|json| serde_json::from_str(&json).ok())
        .unwrap_or_else(|| json!({"encrypted": true, "key": token.split(':').next()}))
}

fn open_token(cipher: Option<&ArgsCipher>, kind: &str, token: &str) -> Result<String, Sealed> {
    let (id, base64) = token.split_once(':').ok_or(Sealed::Broken)?;
    let key = cipher.and_then(|cipher| cipher.key(id)).ok_or_else(|| Sealed::NoKey(id.to_owned()))?;
    key.open(kind, base64).ok_or(Sealed::Broken)
}

/// The same JSON with the fields of its objects in order: those of a hash map come in any. Nothing else changes.
fn sorted(json: &str) -> Result<String, String> {
    let mut text = String::with_capacity(json.len());
    let sorted = serde_json::from_str(json).and_then(|value| sort(value, &mut text, DEEPEST));
    sorted.map(|()| text).map_err(|error| format!("the arguments can't be encrypted: {error}"))
}

fn sort(value: &RawValue, to: &mut String, depth: usize) -> serde_json::Result<()> {
    let below =
        depth.checked_sub(1).ok_or_else(|| serde_json::Error::custom("they are nested too deeply"))?;
    let json = value.get();
    if json.starts_with('{') {
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json)?;
        to.push('{');
        for (place, (name, value)) in fields.into_iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            to.push_str(&format!("{comma}{}:", serde_json::to_string(&name)?));
            sort(value, to, below)?;
        }
        to.push('}');
    } else if json.starts_with('[') {
        let values: Vec<&RawValue> = serde_json::from_str(json)?;
        to.push('[');
        for (place, value) in values.into_iter().enumerate() {
            to.push_str(if place == 0 { "" } else { "," });
            sort(value, to, below)?;
        }
        to.push(']');
    } else {
        to.push_str(json);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: &str = "send_mail";
    const ARGS: &str = r#"{"to":"someone@example.org","count":340282366920938463463374607431768211455}"#;

    fn key(seed: u8) -> String {
        BASE64_STANDARD.encode([seed; KEY_LEN])
    }

    fn cipher(seeds: &[u8]) -> ArgsCipher {
        seeds.iter().map(|seed| key(*seed)).collect::<Vec<_>>().join(",").parse().unwrap()
    }

    fn opened(cipher: &ArgsCipher, kind: &str, stored: &str) -> Result<String, Sealed> {
        open(Some(cipher), kind, stored).map(Cow::into_owned)
    }

    #[test]
    fn the_first_key_encrypts_and_each_decrypts() {
        let old = cipher(&[1]).seal(KIND, ARGS).unwrap();
        let rotated = cipher(&[2, 1]);
        let new = rotated.seal(KIND, ARGS).unwrap();
        assert_ne!(old, new);
        let sorted = sorted(ARGS).unwrap();
        assert_eq!(opened(&rotated, KIND, &old).unwrap(), sorted);
        assert_eq!(opened(&rotated, KIND, &new).unwrap(), sorted);
        assert_eq!(rotated.all_seals(KIND, ARGS.into()).unwrap(), [new.clone(), old.clone(), ARGS.into()]);
        let lost = opened(&cipher(&[1]), KIND, &new).unwrap_err();
        assert!(matches!(&lost, Sealed::NoKey(id) if new.contains(id.as_str())), "{lost}");
        assert_eq!(open(None, KIND, &new).unwrap_err(), lost);
    }

    #[test]
    fn what_was_changed_or_is_another_kinds_is_refused() {
        let cipher = cipher(&[1]);
        let sealed = cipher.seal(KIND, ARGS).unwrap();
        assert_eq!(opened(&cipher, "drop_table", &sealed).unwrap_err(), Sealed::Broken);
        for (place, character) in sealed.char_indices().filter(|(_, character)| character.is_alphanumeric()) {
            let mut changed = sealed.clone();
            let other = if character == 'e' { "f" } else { "e" };
            changed.replace_range(place..=place, other);
            // Whatever is changed: what is decrypted is what was encrypted, or nothing.
            assert!(opened(&cipher, KIND, &changed).map_or(true, |text| text == changed), "{changed}");
        }
        for token in ["", ":", "x", "x:y:z", "é:é"] {
            assert!(opened(&cipher, KIND, &format!("{}{token}{}", AROUND.0, AROUND.1)).is_err(), "{token}");
        }
    }

    #[test]
    fn equal_arguments_look_equal_and_others_do_not() {
        let cipher = cipher(&[1]);
        let seal = |kind: &str, json: &str| cipher.seal(kind, json).unwrap();
        assert_eq!(
            seal(KIND, r#"{"a":[{"c":1.0,"b":"x"}],"b":{}}"#),
            seal(KIND, r#"{"b":{},"a":[{"b":"x","c":1.0}]}"#)
        );
        assert_ne!(seal(KIND, "[1,2]"), seal(KIND, "[2,1]"));
        assert_ne!(seal("a1", "1"), seal("a", "11"));
        let nonce = |sealed: String| sealed.split(':').nth(2).unwrap().chars().take(16).collect::<String>();
        assert_ne!(nonce(seal(KIND, "1")), nonce(seal("other", "1")));
    }

    #[test]
    fn operators_see_them_or_only_that_they_are_encrypted() {
        let cipher = cipher(&[1]);
        let sealed: Value = serde_json::from_str(&cipher.seal(KIND, r#"{"id":7}"#).unwrap()).unwrap();
        assert_eq!(shown(Some(&cipher), KIND, sealed.clone()), json!({"id": 7}));
        let hidden = shown(None, KIND, sealed);
        assert_eq!(hidden["encrypted"], true);
        assert_eq!(hidden["key"].as_str().unwrap().len(), 16);
        let plain = json!({"$encrypted": "x:y", "more": 1});
        assert_eq!(shown(None, KIND, plain.clone()), plain);
    }

    #[test]
    fn malformed_keys_are_named_by_place_and_not_shown() {
        let short = BASE64_STANDARD.encode([7; 31]);
        for (text, reason) in [
            (format!("{},not base64!", key(1)), "key 2 is no base64"),
            (format!("{},{short}", key(1)), "key 2 has 31 bytes: 32 are needed"),
            (format!("{},{}", key(1), key(1)), "key 2 is there twice"),
            (",".to_owned(), "key 1 has 0 bytes"),
        ] {
            let error = text.parse::<ArgsCipher>().unwrap_err();
            assert!(error.contains(reason), "{error}");
            assert!(!error.contains(&key(1)) && !error.contains(&short) && !error.contains("not base64!"));
        }
        let shown = format!("{:?}", cipher(&[1, 2]));
        assert!(!shown.contains(&key(1)) && shown.contains("1 more"), "{shown}");
    }

    #[test]
    fn arguments_too_deep_to_be_decoded_are_refused() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(cipher(&[1]).seal(KIND, &nested(DEEPEST)).is_ok());
        assert!(cipher(&[1]).seal(KIND, &nested(10_000)).unwrap_err().contains("nested too deeply"));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text: String, number: i64, float: f64) {
            let json = json!({"z": text, "a": [number, float, null, {"": text}]}).to_string();
            let cipher = cipher(&[1]);
            let sealed = cipher.seal(KIND, &json).unwrap();
            let back = opened(&cipher, KIND, &sealed).unwrap();
            prop_assert_eq!(
                serde_json::from_str::<Value>(&back).unwrap(),
                serde_json::from_str::<Value>(&json).unwrap()
            );
        }

        #[test]
        fn nothing_panics(stored: String) {
            let _ = opened(&cipher(&[1]), KIND, &stored);
            let _ = opened(&cipher(&[1]), KIND, &format!("{}{stored}{}", AROUND.0, AROUND.1));
            let _ = stored.parse::<ArgsCipher>();
        }
    }
}
