//! Every secret of an annotator is derived from `SECRET_KEY`, so nothing has to be stored or carried
//! between two runs of a job, and a database dump opens no door.
//!
//! HMAC-SHA-256 (RFC 2104) over a label that names purpose, annotator and version; raising
//! `annotators.secret_version` changes them all.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::AnnotatorId;

#[derive(Clone)]
pub struct Secrets {
    key: Vec<u8>,
}

impl Secrets {
    pub fn new(secret_key: &str) -> Self {
        Self { key: secret_key.as_bytes().to_vec() }
    }

    /// What Label Studio shows with each webhook (`X-Webhook-Secret`).
    pub fn webhook(&self, annotator: AnnotatorId, version: i32) -> String {
        self.derive("webhook", annotator, version)
    }

    /// Whether `shown` is the annotator's webhook secret; takes the same time whatever is shown.
    pub fn webhook_matches(&self, annotator: AnnotatorId, version: i32, shown: &str) -> bool {
        self.webhook(annotator, version).as_bytes().ct_eq(shown.as_bytes()).into()
    }

    /// Label Studio's API token (at most 40 characters there).
    pub fn label_studio_token(&self, annotator: AnnotatorId, version: i32) -> String {
        self.derive("label-studio-token", annotator, version)
    }

    /// The annotator's own login to their Label Studio.
    pub fn label_studio_password(&self, annotator: AnnotatorId, version: i32) -> String {
        self.derive("label-studio-password", annotator, version)
    }

    /// Label Studio's `SECRET_KEY`.
    pub fn label_studio_key(&self, annotator: AnnotatorId, version: i32) -> String {
        self.derive("label-studio-key", annotator, version)
    }

    /// The password of the annotator's database role.
    pub fn database_password(&self, annotator: AnnotatorId, version: i32) -> String {
        self.derive("database", annotator, version)
    }

    /// A token that only we can have made: the nonce and its proof, 64 hexadecimal digits.
    pub fn csrf_token(&self, nonce: [u8; 16]) -> String {
        let nonce = hex::encode(nonce);
        let proof = self.proof(&format!("labelfleet/csrf/{nonce}"));
        nonce + proof.get(..32).unwrap_or_default()
    }

    /// Whether `shown` came from [`Self::csrf_token`].
    pub fn csrf_token_matches(&self, shown: &str) -> bool {
        let nonce = shown.get(..32).and_then(|nonce| hex::decode(nonce).ok()?.try_into().ok());
        nonce.is_some_and(|nonce| self.csrf_token(nonce).as_bytes().ct_eq(shown.as_bytes()).into())
    }

    /// 40 hexadecimal digits: 160 bits.
    fn derive(&self, purpose: &str, annotator: AnnotatorId, version: i32) -> String {
        self.proof(&format!("labelfleet/{purpose}/{annotator}/{version}")).chars().take(40).collect()
    }

    fn proof(&self, label: &str) -> String {
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(label.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csrf_tokens_are_known_again_and_others_are_not() {
        let secrets = Secrets::new("k");
        let token = secrets.csrf_token([7; 16]);
        assert_eq!(token.len(), 64);
        assert!(secrets.csrf_token_matches(&token));
        assert!(!Secrets::new("other").csrf_token_matches(&token));
        let upper = token.to_uppercase();
        for forged in ["", "é", &token[1..], &"0".repeat(64), &upper] {
            assert!(!secrets.csrf_token_matches(forged), "{forged}");
        }
    }

    #[test]
    fn each_purpose_annotator_and_version_has_its_own_secret() {
        let secrets = Secrets::new("k");
        let all = [
            secrets.webhook(AnnotatorId(1), 1),
            secrets.webhook(AnnotatorId(2), 1),
            secrets.webhook(AnnotatorId(1), 2),
            secrets.label_studio_token(AnnotatorId(1), 1),
            secrets.database_password(AnnotatorId(1), 1),
            Secrets::new("other").webhook(AnnotatorId(1), 1),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|secret| secret.len() == 40));
    }

    #[test]
    fn only_the_right_secret_matches() {
        let secrets = Secrets::new("k");
        let right = secrets.webhook(AnnotatorId(7), 1);
        assert!(secrets.webhook_matches(AnnotatorId(7), 1, &right));
        assert!(!secrets.webhook_matches(AnnotatorId(8), 1, &right));
        assert!(!secrets.webhook_matches(AnnotatorId(7), 1, ""));
    }
}
