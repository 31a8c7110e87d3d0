//! The applications that the demo asks for: together they have nearly everything that the agents can make.

use serde_json::{Value, json};

/// The templates, as they come with Bravo.
pub(super) const TEMPLATES: [(&str, &str); 4] = [
    ("crud", include_str!("../../../../../../deploy/templates/crud.json")),
    ("ecommerce", include_str!("../../../../../../deploy/templates/ecommerce.json")),
    ("enterprise_api", include_str!("../../../../../../deploy/templates/enterprise_api.json")),
    ("realtime_chat", include_str!("../../../../../../deploy/templates/realtime_chat.json")),
];

/// Name, type, features.
const SPECS: [(&str, &str, &str); 10] = [
    ("Task list", "crud", "api database filtering sorting pagination search ui validation"),
    ("Tea shop", "ecommerce", "catalog cart checkout coupons taxes inventory database"),
    ("Ledger", "enterprise_api", "auth rbac audit multi_tenancy quotas billing reporting database"),
    ("Team chat", "realtime_chat", "websocket rooms threads reactions presence typing history database"),
    ("Contacts", "crud", "auth roles database import export soft_delete audit uploads"),
    ("Book store", "ecommerce", "catalog orders payments shipping reviews wishlist recommendations auth"),
    ("Gateway", "enterprise_api", "versioning rate_limiting documentation graphql webhooks scheduling workflow monitoring"),
    ("Help desk", "realtime_chat", "direct_messages read_receipts moderation attachments notifications auth testing i18n"),
    ("Library", "crud", "database search cache i18n admin logging"),
    ("Spare parts", "ecommerce", "catalog inventory orders email export notifications monitoring"),
];

/// The requirements of so many applications. With more than there are, the first ones come again.
pub(super) fn requirements(count: usize) -> Vec<(String, Value)> {
    (0..count).map(|number| {
        let (name, kind, features) = SPECS[number % SPECS.len()];
        let name = if number < SPECS.len() { name.to_owned() } else { format!("{name} {}", number / SPECS.len() + 1) };
        let features: Vec<&str> = features.split(' ').collect();
        let mut requirements = json!({ "type": kind, "app_name": name, "features": features });
        if name.starts_with("Library") {
            requirements["entities"] = json!([
                { "name": "author", "fields": [{ "name": "name", "required": true }] },
                { "name": "book", "fields": [
                    { "name": "title", "required": true },
                    { "name": "author", "kind": "author", "required": true },
                    { "name": "year", "kind": "integer" },
                ] },
            ]);
        }
        (name, requirements)
    }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the agents refuse, and say why.
    const REFUSED: [&str; 6] = ["grpc", "sso", "push", "video", "voice", "encryption"];

    #[test]
    fn the_demo_asks_for_nearly_everything_and_nothing_else() {
        let mut open: Vec<String> = Vec::new();
        for (name, template) in TEMPLATES {
            let template: Value = serde_json::from_str(template).unwrap();
            let offered = &template["parameters"]["properties"]["features"]["items"]["enum"];
            let offered: Vec<&str> = offered.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            for (app, _, features) in SPECS.iter().filter(|(_, kind, _)| *kind == name) {
                let unknown = features.split(' ').find(|feature| !offered.contains(feature) || REFUSED.contains(feature));
                assert_eq!(unknown, None, "{app}");
            }
            open.extend(offered.iter().map(ToString::to_string));
        }
        let asked = |name: &str| SPECS.iter().any(|(_, _, features)| features.split(' ').any(|feature| feature == name));
        open.retain(|name| !asked(name) && !REFUSED.contains(&name.as_str()));
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn there_are_as_many_as_are_wanted_and_each_has_its_name() {
        let many = requirements(23);
        let mut names: Vec<&String> = many.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 23);
        assert_eq!(many[20].1["app_name"], "Task list 3");
    }
}
