#!/bin/sh
# Whether the node of this container can be dialed and, with `peers`, knows somebody.
set -eu
# Before the node listens here, `hive status` would start one of its own and take the home.
[ -s "$HIVE_HOME/api.addr" ]
status=$(hive status --json)
case $status in *'"addresses":["'*) ;; *) exit 1 ;; esac
case $* in
peers) case $status in *'"connected":0'*) exit 1 ;; esac ;;
esac
