//! `docker-compose.yml` as Docker Compose itself reads it.

use std::process::Command;

/// The plugin of Docker, or the program of Debian 12.
fn compose() -> Option<Command> {
    let answers = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    if answers(Command::new("docker").args(["compose", "version"])) {
        let mut plugin = Command::new("docker");
        plugin.arg("compose");
        return Some(plugin);
    }
    answers(Command::new("docker-compose").arg("version")).then(|| Command::new("docker-compose"))
}

#[test]
fn the_compose_file_is_valid_and_names_what_is_not_filled_in() {
    let Some(mut filled) = compose() else {
        println!("skipped: neither `docker compose` nor `docker-compose` is installed");
        return;
    };
    let secrets = [
        "POSTGRES_PASSWORD",
        "SECRET_KEY",
        "S3_BUCKET",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "ADMIN_PASSWORD",
    ];
    // Not from a developer's own `.env`.
    let file = ["--env-file", ".env.example", "-f", "docker-compose.yml", "config"];
    let output = filled.args(file).envs(secrets.map(|name| (name, "given"))).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for service in ["traefik:", "postgres:", "redis:", "migrate:", "api:", "worker:"] {
        assert!(text.contains(&format!("\n  {service}\n")), "{service} is not in:\n{text}");
    }

    let mut empty = compose().unwrap();
    let output =
        secrets.iter().fold(empty.args(file), |command, name| command.env_remove(name)).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("see .env.example"), "{error}");
}
