#!/bin/sh
# Makes the secrets of docker-compose.yml that are not there yet: deploy/make-secrets.sh [--demo] [FOLDER]
# The password of ServiceTrade is asked for; with --demo it is made up, for the simulated one.
set -eu
demo=
if [ "${1:-}" = --demo ]; then demo=yes; shift; fi
folder=${1:-"$(dirname "$0")/secrets"}
umask 077
mkdir -p "$folder"
cd "$folder"

keep() { # NAME: what comes on stdin, whole or not at all
    cat > "$1.draft"
    test -s "$1.draft" || { rm "$1.draft"; echo "nothing was said: $1 is not made" >&2; exit 1; }
    mv "$1.draft" "$1"
    echo "made $folder/$1"
}

test -e store_password || openssl rand -hex 24 | keep store_password
test -e store_key || openssl rand -base64 32 | tr '+/' '-_' | keep store_key
test -e main_hook_secret || openssl rand -hex 24 | keep main_hook_secret
test -e subscriber_whsec || { printf whsec_; openssl rand -base64 32; } | keep subscriber_whsec
if [ ! -e main_password ]; then
    if [ -n "$demo" ]; then
        openssl rand -hex 12 | keep main_password
    else
        printf 'ServiceTrade password of the account main: ' >&2
        if [ -t 0 ]; then
            trap 'stty echo; exit 130' HUP INT TERM
            stty -echo
        fi
        IFS= read -r password || true
        if [ -t 0 ]; then
            stty echo
            trap - HUP INT TERM
            echo >&2
        fi
        printf '%s' "$password" | keep main_password
    fi
fi
# The processes run as a user of their own, and Compose mounts the files as they are: readable by all, in a folder that
# is closed to all but you.
chmod 700 .
chmod 444 store_password store_key main_password subscriber_whsec
chmod 644 main_hook_secret
