//! Pages of `docs/` that are made from code: compared in tests, rewritten on request.

use std::path::Path;

/// Fails when the page in `docs/` differs from `text`; with `BRAVO_UPDATE_DOCS=1` writes it instead.
pub(crate) fn same_page(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var("BRAVO_UPDATE_DOCS").is_ok_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "docs/{name} is out of date; renew it with BRAVO_UPDATE_DOCS=1 and this test");
}
