//! The catalogue: what each feature adds to an application, and what no application here can have.
//!
//! A feature may bring entities and fields, and a module. What a module does in the service follows from the
//! functions that it has: `gate` lets a request in, `route` answers paths of its own, `check` may refuse a record,
//! `arrange` changes a list, `price` an order's bill, `changed` hears of each change, `finish` sees each answer, and
//! `State` is what it keeps. They are called in the order of this table.

/// A type of application.
pub(crate) struct Kind {
    /// As in the requirements.
    pub(crate) name: &'static str,
    /// The first entity, which every application of the type has.
    pub(crate) base: &'static str,
    /// The template in the cluster, whose schema says what the requirements may be.
    pub(crate) template: &'static str,
}

/// A feature.
pub(crate) struct Feature {
    /// As in the requirements.
    pub(crate) name: &'static str,
    /// What it does, in a few words.
    pub(crate) what: &'static str,
    /// Its module's name, where that is another one.
    module: &'static str,
    /// The module's source; empty if it needs none of its own.
    pub(crate) source: &'static str,
    /// Features that it stands on.
    pub(crate) needs: &'static [&'static str],
    /// Entities, as `name/plural access: field field`.
    pub(crate) entities: &'static [&'static str],
    /// Fields of other entities, as `entity: field`.
    pub(crate) fields: &'static [&'static str],
}

impl Feature {
    /// The module that does it.
    pub(crate) fn module(&self) -> &'static str {
        if self.module.is_empty() { self.name } else { self.module }
    }

    /// The test that shows that it does.
    pub(crate) fn test(&self) -> String {
        match self.name {
            // What others stand on tests itself in its own words.
            "sha256" => "sha256::tests::known_answers".to_owned(),
            "base64" | "csv" => format!("{}::tests::there_and_back", self.name),
            "api" => "tests::feature_api".to_owned(),
            _ => format!("{0}::tests::feature_{0}", self.module()),
        }
    }
}

/// The types.
pub(crate) const KINDS: [Kind; 4] = [
    Kind {
        name: "crud",
        base: "item/items open: name! description quantity:integer done:boolean",
        template: include_str!("../../../deploy/templates/crud.json"),
    },
    Kind {
        name: "ecommerce",
        base: "product/products open: name! description price:integer",
        template: include_str!("../../../deploy/templates/ecommerce.json"),
    },
    Kind {
        name: "enterprise_api",
        base: "account/accounts open: name! email plan seats:integer",
        template: include_str!("../../../deploy/templates/enterprise_api.json"),
    },
    Kind {
        name: "realtime_chat",
        base: "message/messages open: author! text!",
        template: include_str!("../../../deploy/templates/realtime_chat.json"),
    },
];

/// Features that the agents refuse, and why: none is left out in silence.
pub(crate) const REFUSED: [(&str, &str); 6] = [
    ("grpc", "gRPC is spoken over HTTP/2, which the standard library does not have"),
    ("sso", "single sign-on needs TLS to an identity provider, which the standard library does not have"),
    ("push", "push messages need TLS and encryption towards a push service, which the standard library does not have"),
    ("video", "video needs WebRTC with its codecs and encryption, which the standard library does not have"),
    ("voice", "voice needs WebRTC with its codecs and encryption, which the standard library does not have"),
    ("encryption", "the standard library has no ciphers, and ciphers written for a demonstration would protect nobody"),
];

const PLAIN: Feature = Feature { name: "", what: "", module: "", source: "", needs: &[], entities: &[], fields: &[] };

/// A feature with a module of its name.
macro_rules! feature {
    ($name:literal, $what:literal $(, $field:ident: $value:expr)*) => {
        Feature {
            name: $name,
            what: $what,
            source: include_str!(concat!("app/", $name, ".rs.jinja")),
            $($field: $value,)*
            ..PLAIN
        }
    };
}

/// All that can be generated, in the order in which it takes its turn.
pub(crate) const FEATURES: &[Feature] = &[
    Feature { name: "api", what: "create, read, update, list and delete records over HTTP", ..PLAIN },
    // What others stand on; nobody asks for it.
    feature!("sha256", "SHA-256 and keys from passwords"),
    feature!("base64", "bytes as text"),
    feature!("csv", "comma-separated values"),
    // Who may come in.
    feature!("versioning", "paths below /v1"),
    feature!("multi_tenancy", "each tenant sees its own records only"),
    feature!(
        "auth",
        "users with passwords, and bearer tokens",
        needs: &["sha256"],
        entities: &["user/users closed: name! role! salt!~ hash!~"]
    ),
    feature!("roles", "viewers read, editors write, admins delete", needs: &["auth"]),
    Feature { name: "rbac", what: "rights follow from roles", module: "roles", needs: &["roles"], ..PLAIN },
    feature!("rate_limiting", "so many requests a second for each caller"),
    // What may be written, and where it goes.
    feature!("database", "a journal on disk, read again at the start"),
    feature!("validation", "no unknown fields, clean texts, emails that look like it"),
    feature!("moderation", "words that nobody may write", entities: &["banned_word/banned_words open: word!"]),
    feature!("quotas", "so many records for each tenant"),
    feature!("soft_delete", "what is deleted can be restored"),
    // Lists.
    feature!("filtering", "lists by the values of fields"),
    feature!("sorting", "lists in the order of a field"),
    feature!("pagination", "lists in pages"),
    feature!("search", "records by words"),
    // In and out.
    feature!("export", "records as CSV", needs: &["csv"]),
    feature!("import", "records from CSV", needs: &["csv"]),
    feature!(
        "uploads",
        "files",
        needs: &["base64"],
        entities: &["upload/uploads read: name! content_type! size:integer! data!~"]
    ),
    feature!("ui", "a page to look at and to make records"),
    feature!("documentation", "the interface as OpenAPI"),
    feature!("graphql", "a small part of GraphQL"),
    // Shops.
    feature!(
        "catalog",
        "products by category",
        entities: &["category/categories open: name!"],
        fields: &["product: category:category"]
    ),
    feature!("cart", "a cart for each caller", needs: &["orders"], entities: &["cart_item/cart_items closed: owner! product:product! quantity:integer!"]),
    feature!(
        "orders",
        "orders with prices that stay",
        entities: &[
            "order/orders read: customer! status! subtotal:integer! discount:integer! tax:integer! shipping:integer! total:integer!",
            "order_line/order_lines closed: order:order! product:product! quantity:integer! price:integer!",
        ]
    ),
    feature!("checkout", "a cart becomes an order", needs: &["cart", "orders"]),
    feature!("coupons", "so many percent off", needs: &["orders"], entities: &["coupon/coupons open: code! percent:integer!"]),
    feature!("taxes", "tax on orders", needs: &["orders"]),
    feature!("shipping", "what shipping costs, and when it happens", needs: &["orders"]),
    feature!("inventory", "stock, and nothing is sold that is not there", needs: &["orders"], fields: &["product: stock:integer"]),
    feature!(
        "payments",
        "payments of orders",
        needs: &["orders"],
        entities: &["payment/payments read: order:order! amount:integer! method!"]
    ),
    feature!("recommendations", "what is ordered together", needs: &["orders"]),
    feature!("reviews", "stars and what they come to", entities: &["review/reviews open: product:product! stars:integer! text"]),
    feature!("wishlist", "what customers wish for", entities: &["wish/wishes open: customer! product:product! note"]),
    // Businesses.
    feature!("billing", "invoices and what is open", entities: &["invoice/invoices open: account:account! amount:integer! paid:boolean"]),
    feature!("reporting", "records counted and summed up"),
    feature!(
        "scheduling",
        "what is due every so many seconds",
        entities: &["schedule/schedules open: name! every_seconds:integer! runs:integer last_run:integer"]
    ),
    feature!("workflow", "processes from step to step", entities: &["process/processes open: title! state"]),
    // Chats.
    feature!("rooms", "rooms and what is said in them", entities: &["room/rooms open: name! topic"], fields: &["message: room:room!"]),
    feature!("history", "what was said before"),
    feature!("threads", "answers to messages", fields: &["message: parent:message"]),
    feature!("direct_messages", "messages from one to another", entities: &["direct_message/direct_messages open: from! to! text!"]),
    feature!("reactions", "reactions to messages", entities: &["reaction/reactions open: message:message! user! emoji!"]),
    feature!("read_receipts", "who has read a message", entities: &["read_receipt/read_receipts open: message:message! user!"]),
    feature!("attachments", "files of messages", needs: &["uploads"], fields: &["message: attachment:upload"]),
    feature!("presence", "who is there"),
    feature!("typing", "who is typing"),
    // Who hears of it.
    feature!("audit", "who changed what, and when"),
    feature!("notifications", "changes as they happen, by long polls"),
    feature!("webhooks", "changes sent to other services", entities: &["webhook/webhooks open: url!"]),
    feature!("websocket", "messages as they come, over WebSockets", needs: &["base64"]),
    feature!("email", "mail, put into an outbox"),
    // Those who run it.
    feature!("admin", "what there is, in numbers"),
    feature!("testing", "a long test of the store against a plain map"),
    feature!("i18n", "errors in three languages"),
    feature!("cache", "ETag, and 304 for what is known"),
    feature!("monitoring", "numbers for Prometheus"),
    feature!("logging", "a line for each request"),
];

/// A feature by its name.
pub(crate) fn feature(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_needs_are_known() {
        for (index, feature) in FEATURES.iter().enumerate() {
            assert!(FEATURES[..index].iter().all(|other| other.name != feature.name), "{}", feature.name);
            assert!(feature.needs.iter().all(|name| super::feature(name).is_some()), "{}", feature.name);
            assert!(REFUSED.iter().all(|(name, _)| *name != feature.name), "{}", feature.name);
        }
    }

    #[test]
    fn every_module_has_the_test_that_is_expected_of_it() {
        for feature in FEATURES.iter().filter(|feature| !feature.source.is_empty()) {
            let test = feature.test();
            let name = test.rsplit("::").next().unwrap();
            assert!(feature.source.contains(&format!("fn {name}()")), "{test}");
        }
    }
}
