//! `rialto check`: a configuration and its routes, without starting anything. Part of `cli`.

use std::path::PathBuf;

use crate::bridge::file;
use crate::bridge::overlap::overlaps;
use crate::config::live::Bundle;
use crate::config::source::ConfigError;
use crate::config::{Options, Overrides};

/// Reads `config`, the password file it names and its routes; the line to print when all is well.
///
/// # Errors
/// Every fault, with file, line and key: of the configuration first, and of the routes once that is good.
pub fn check(config: PathBuf, bridge_config: Option<PathBuf>) -> Result<String, ConfigError> {
    let shown = config.display().to_string();
    let overrides = Overrides { bridge_config, ..Overrides::default() };
    let config = Options { config_file: Some(config), overrides }.resolve()?;
    let bundle = Bundle::new(config)?;
    let folder = &bundle.started.bridge_config;
    let routes = file::load(folder)?;
    let rules = bundle.started.acl.len();
    let warnings: String =
        overlaps(&routes).iter().map(|sentence| format!("warning: {sentence}\n")).collect();
    Ok(format!(
        "{warnings}ok: {shown}, {rules} access rules, {} routes in {}",
        routes.len(),
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::check;

    #[test]
    fn a_good_configuration_is_ok_and_a_bad_route_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (file, routes) = (folder.path().join("r.toml"), folder.path().join("routes"));
        fs::write(&file, "[mqtt]\nreceive_max = 10\n").unwrap();
        fs::create_dir(&routes).unwrap();
        let run = || check(file.clone(), Some(routes.clone()));
        assert!(run().unwrap().starts_with("ok: "));

        fs::write(
            routes.join("a.toml"),
            "[[route]]\nname = \"a\"\nfrom = { mqtt = \"+\" }\nto = { log = \"{2}\" }\n",
        )
        .unwrap();
        let error = run().unwrap_err().to_string();
        assert!(error.contains("routes/a.toml:4: route[0].to.log: "), "{error}");

        fs::write(&file, "\n[auth]\npassword_file = \"/nonexistent/users\"\n").unwrap();
        assert!(
            run().unwrap_err().to_string().contains("auth.password_file: /nonexistent/users: ")
        );
    }
}
