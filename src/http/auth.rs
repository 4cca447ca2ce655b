//! Who is asking.

/// The cookie of a session; the name is what NextAuth's clients know.
pub const SESSION_COOKIE: &str = "next-auth.session-token";
