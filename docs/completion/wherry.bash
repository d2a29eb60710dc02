# bash completion for wherry; generated from its command table
_wherry() {
	local word=${COMP_WORDS[COMP_CWORD]} verb='' flags='' names='' i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--root | --run-root) ((i++)) ;;
		-*) ;;
		*) verb=${COMP_WORDS[i]}; break ;;
		esac
	done
	case $verb in
	'') COMPREPLY=($(compgen -W 'container create exec explain image images import inspect kill load logs ps pull push rm rmi run save start stop tag wait --root --run-root --version --help' -- "$word")); return ;;
	create) flags='--help --cap-add --cap-drop --cidfile --cpus --entrypoint -e --env --env-file --health-cmd --health-interval --health-timeout --health-retries --health-start-period --health-on-failure -h --hostname --init -i --interactive -l --label --log-driver --log-opt -m --memory --name --network --net --pids-limit --privileged -p --publish --read-only --restart --rm --security-opt --stop-timeout --tmpfs -t --tty -u --user -v --volume -w --workdir' ;;
	exec) flags='--help -d --detach -e --env --env-file -i --interactive -t --tty -u --user -w --workdir --privileged' ;;
	explain) flags='--help -d --detach --bundle --cap-add --cap-drop --cidfile --cpus --entrypoint -e --env --env-file --health-cmd --health-interval --health-timeout --health-retries --health-start-period --health-on-failure -h --hostname --init -i --interactive -l --label --log-driver --log-opt -m --memory --name --network --net --pids-limit --privileged -p --publish --read-only --restart --rm --security-opt --stop-timeout --tmpfs -t --tty -u --user -v --volume -w --workdir' ;;
	images) flags='--help -q --quiet --digests --no-trunc --format' ;;
	import) flags='--help -c --change -m --message' ;;
	inspect) flags='--help -f --format --type' ;;
	kill) flags='--help -s --signal' ;;
	load) flags='--help -i --input -q --quiet' ;;
	logs) flags='--help -f --follow -n --tail -t --timestamps' ;;
	ps) flags='--help -a --all -q --quiet --no-trunc --format' ;;
	pull) flags='--help -q --quiet --platform --tls-verify --authfile --creds' ;;
	push) flags='--help -q --quiet --digestfile --tls-verify --authfile --creds' ;;
	rm) flags='--help -f --force -a --all' ;;
	rmi) flags='--help -f --force' ;;
	run) flags='--help -d --detach --detach-keys --sig-proxy --pull --tls-verify --cap-add --cap-drop --cidfile --cpus --entrypoint -e --env --env-file --health-cmd --health-interval --health-timeout --health-retries --health-start-period --health-on-failure -h --hostname --init -i --interactive -l --label --log-driver --log-opt -m --memory --name --network --net --pids-limit --privileged -p --publish --read-only --restart --rm --security-opt --stop-timeout --tmpfs -t --tty -u --user -v --volume -w --workdir' ;;
	save) flags='--help -o --output --format' ;;
	start) flags='--help' ;;
	stop) flags='--help -t --time --timeout' ;;
	tag) flags='--help' ;;
	wait) flags='--help' ;;
	esac
	if [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "$flags" -- "$word"))
		return
	fi
	case $verb in
	exec | stop | kill | logs) names=$(wherry ps --format '{{.Names}}' 2>/dev/null) ;;
	start | rm | inspect | wait) names=$(wherry ps -a --format '{{.Names}}' 2>/dev/null) ;;
	run | create | rmi | push | tag | save | explain)
		names=$(wherry images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null) ;;
	esac
	COMPREPLY=($(compgen -W "$names" -- "$word"))
}
complete -o default -F _wherry wherry
