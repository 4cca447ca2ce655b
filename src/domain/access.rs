//! Who may do what. People have a role, programs an API key with scopes; both come to one rung of a ladder:
//!
//! | scope | role of people | opens |
//! | --- | --- | --- |
//! | `read` | viewer | every `GET` but those of users and keys; annotators' API tokens are left out |
//! | `write` | operator | the whole labeling operation as well |
//! | `admin` | admin | users, keys and settings as well |

use super::{Scope, UserRole};

impl Scope {
    /// Whether whoever has this scope may do what needs that one.
    pub fn opens(self, needed: Self) -> bool {
        // Declared in the ladder's order.
        self as u8 >= needed as u8
    }

    /// The highest of several.
    pub fn highest(scopes: &[Self]) -> Option<Self> {
        scopes.iter().copied().max_by_key(|scope| *scope as u8)
    }
}

impl UserRole {
    pub fn scope(self) -> Scope {
        match self {
            Self::Viewer => Scope::Read,
            Self::Operator => Scope::Write,
            Self::Admin => Scope::Admin,
        }
    }
}

/// Who is asking, once they have shown who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// A person's email, or `key NAME`.
    pub name: String,
    pub scope: Scope,
}

/// What every key begins with, so that a key that was pasted somewhere is known for what it is.
const MARK: &str = "lf_";

/// How much of a key is kept readable: the mark and 32 of its 256 random bits.
const SHOWN: usize = MARK.len() + 8;

/// An API key: `lf_` and 64 hexadecimal digits.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    pub fn new(random: [u8; 32]) -> Self {
        Self(format!("{MARK}{}", hex::encode(random)))
    }

    /// What a caller shows; none if it can't be a key.
    pub fn parse(shown: &str) -> Option<Self> {
        let digits = shown.strip_prefix(MARK)?;
        let plain = digits.len() == 64 && digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| Self(shown.to_owned()))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    /// By which people tell keys apart.
    pub fn prefix(&self) -> &str {
        self.0.get(..SHOWN).unwrap_or_default()
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey({}…)", self.prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scopes_are_a_ladder() {
        for (held, opens) in [(Scope::Read, 1), (Scope::Write, 2), (Scope::Admin, 3)] {
            let opened = Scope::ALL.iter().filter(|needed| held.opens(**needed)).count();
            assert_eq!(opened, opens, "{held}");
        }
        assert_eq!(Scope::highest(&[Scope::Write, Scope::Read]), Some(Scope::Write));
        assert_eq!(Scope::highest(&[]), None);
    }

    #[test]
    fn a_key_is_known_again_and_hides_itself() {
        let key = ApiKey::new([0xab; 32]);
        assert_eq!(key.prefix(), "lf_abababab");
        assert_eq!(ApiKey::parse(key.expose()).unwrap().expose(), key.expose());
        assert_eq!(format!("{key:?}"), "ApiKey(lf_abababab…)");
        let short = &key.expose()[..66];
        for other in ["", "lf_", short, &key.expose().to_uppercase(), &key.expose().replace("lf_", "sk_")] {
            assert!(ApiKey::parse(other).is_none(), "{other}");
        }
    }
}
