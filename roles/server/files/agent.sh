# Tells a router that asks about a server what the watch of this box found last: `up` or `down`, nothing else. systemd starts it for each question
# (gb10-vllm-agent.socket), the name of the server is the first line of it. One that nobody has looked at yet is up: the port says enough.
read -r name || exit 0
name=${name%"$(printf '\r')"}
case $name in '' | *[!a-z0-9-]*) exit 0 ;; esac
[ "${#name}" -le 40 ] || exit 0
said=$(head -c 8 "/run/gb10-vllm-agent/$name" 2>/dev/null)
if [ "$said" = down ]; then echo down; else echo up; fi
