//! What a key of the configuration is: its place, kind, bounds and documentation.
//!
//! The `section!` macro is the one place where a key is declared. It makes the struct that the
//! daemon reads, its defaults, and the table that drives the check for unknown keys, the
//! environment variables, the bounds and `docs/configuration.md`.

/// One `[section]` of the file.
#[derive(Debug)]
pub struct SectionDoc {
    /// Its name in the file.
    pub name: &'static str,
    /// What it is about, one line per item.
    pub doc: &'static [&'static str],
    /// Its keys, in the order of the struct.
    pub keys: &'static [KeyDoc],
}

/// One key of a section.
#[derive(Debug)]
pub struct KeyDoc {
    /// Its name within the section.
    pub name: &'static str,
    /// What a value looks like and which ones are accepted.
    pub kind: Kind,
    /// What it does, one line per item.
    pub doc: &'static [&'static str],
}

/// The form and the bounds of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number within bounds, both included.
    Integer {
        /// The smallest value.
        min: u64,
        /// The largest value.
        max: u64,
    },
    /// `true` or `false`.
    Boolean,
    /// Any text that is not empty.
    Text,
    /// A path; a relative one starts at the folder of the config file.
    Path,
    /// `IP:PORT`, a local address to bind.
    Socket,
    /// `HOST:PORT`, an address that others connect to.
    HostPort,
    /// One of a few words.
    OneOf(&'static [&'static str]),
    /// A list of `HOST:PORT`.
    HostPorts,
    /// A list of networks, `ADDRESS/BITS`.
    Networks,
    /// A list of `{ id, peer, public }`.
    Members,
    /// A list of `{ agent_type, actuator, command, env, target }`.
    Pools,
}

impl Kind {
    /// The name of the kind for people.
    pub fn label(self) -> String {
        match self {
            Kind::Integer { .. } => "integer".into(),
            Kind::Boolean => "boolean".into(),
            Kind::Text => "text".into(),
            Kind::Path => "path".into(),
            Kind::Socket => "`IP:PORT`".into(),
            Kind::HostPort => "`HOST:PORT`".into(),
            Kind::OneOf(words) => words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", "),
            Kind::HostPorts => "list of `HOST:PORT`".into(),
            Kind::Networks => "list of `ADDRESS/BITS`".into(),
            Kind::Members => "list of `{ id, peer, public }`".into(),
            Kind::Pools => "list of `{ agent_type, actuator, command, env, target }`".into(),
        }
    }
}

/// Declares a section: the struct, its defaults and its row of the key table.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])*
        [$section:literal] $struct:ident {
            $(
                $(#[doc = $doc:literal])*
                $key:ident: $type:ty = $default:expr, $kind:expr;
            )*
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $struct {
            $( $(#[doc = $doc])* pub $key: $type, )*
        }

        impl Default for $struct {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }

        impl $struct {
            /// The section as the key table has it.
            pub const DOC: $crate::config::key::SectionDoc = $crate::config::key::SectionDoc {
                name: $section,
                doc: &[$( $section_doc, )*],
                keys: &[$(
                    $crate::config::key::KeyDoc {
                        name: stringify!($key),
                        kind: $kind,
                        doc: &[$( $doc, )*],
                    },
                )*],
            };
        }
    };
}
pub(super) use section;

/// Shorthand of the section files: an integer within bounds.
pub(super) const fn int(min: u64, max: u64) -> Kind {
    Kind::Integer { min, max }
}

/// One kibibyte.
pub(super) const KIB: u64 = 1 << 10;
/// One mebibyte.
pub(super) const MIB: u64 = 1 << 20;
/// One gibibyte.
pub(super) const GIB: u64 = 1 << 30;
