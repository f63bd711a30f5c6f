"""What the black-box suites need around the real binary: a server to start, packages to deploy, requests to sign."""
