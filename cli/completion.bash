# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Completion of blockstorectl for bash. It needs nothing of the bash-completion package but that somebody loads it. Names of images come from "list --local": what is in the store
# only would cost a question over the network at each press of the key. A test compares the words below with --help.

_blockstorectl_names() {
    blockstorectl list --local --no-legend --no-ask-password 2>/dev/null | awk '{ print $1 }'
}

_blockstorectl() {
    local -A options=(
        [attach]='--read-only -r --as --device --steal --proxy'
        [detach]='--wait --lazy --cancel'
        [list]='--local -l'
        [status]=''
        [create]='--preallocate --checksums --no-wait'
        [resize]='--force-shrink'
        [remove]='--yes -y --snapshots'
        [rename]=''
        ['snapshot create']='--no-wait'
        ['snapshot list']=''
        ['snapshot remove']='--yes -y'
        ['snapshot rollback']='--yes -y --no-wait'
        [clone]='--no-wait'
        [import]='--format --size --overwrite --keep --resume --checksums --sha256 --no-checksum --verify'
        [export]='--format --overwrite --no-checksum --verify'
        ['store status']=''
        [proxies]=''
        ['proxy drain']='--undo'
        [monitor]=''
        [doctor]='--check -c'
        [scrub]='--all --status --no-wait'
        [limit]='--iops --bandwidth --burst'
        [heatmap]=''
        ['import-config']='--proxy --force --dry-run -n --root'
        [shell]=''
        [upgrade]='--cancel'
        ['user add']='--file --read --write --admin --no-classic'
        ['user passwd']='--file --no-classic'
        ['user rights']='--file --read --write --admin'
        ['user remove']='--file'
        ['user list']='--file'
        [help]=''
        [version]=''
    )
    local verbs='attach detach list status create resize remove rename snapshot clone import export store proxies proxy monitor doctor scrub limit heatmap import-config shell upgrade user help version'
    local user_verbs='add passwd rights remove list'
    local proxy_verbs='drain'
    local store_verbs='status'
    local snapshot_verbs='create list remove rollback'
    local globals='--json --no-legend --no-ask-password --help -h --version'
    # Those whose next word is their value. Of some of them no value can be offered.
    local with_value=' --json --as --device --file --proxy --read --write --check -c --format --size --sha256 --iops --bandwidth --burst --root '
    local word=${COMP_WORDS[COMP_CWORD]} option='' verb='' arguments=0 i w words

    # bash splits at "=": "--json=short" arrives as three words.
    if [ "$word" = '=' ]; then
        option=${COMP_WORDS[COMP_CWORD - 1]}
        word=''
    elif [ "${COMP_WORDS[COMP_CWORD - 1]}" = '=' ] && [ "$COMP_CWORD" -ge 2 ]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    else
        option=${COMP_WORDS[COMP_CWORD - 1]}
    fi

    case $option in
    --json)
        mapfile -t COMPREPLY < <(compgen -W 'short pretty' -- "$word")
        return
        ;;
    --device)
        mapfile -t COMPREPLY < <(compgen -W 'nbd none' -- "$word")
        return
        ;;
    --format)
        mapfile -t COMPREPLY < <(compgen -W 'raw qcow2' -- "$word")
        return
        ;;
    --root)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
        return
        ;;
    --file)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    --proxy)
        mapfile -t COMPREPLY < <(compgen -A hostname -- "$word")
        return
        ;;
    esac
    [[ $with_value != *" $option "* ]] || return

    for ((i = 1; i < COMP_CWORD; i++)); do
        w=${COMP_WORDS[i]}
        if [[ $with_value == *" $w "* ]]; then
            # its value is no argument
            [ "${COMP_WORDS[i + 1]}" = '=' ] && i=$((i + 1))
            i=$((i + 1))
        elif [[ $w == -* ]]; then
            :
        elif [ -z "$verb" ]; then
            verb=$w
        elif [ "$verb" = user ] || [ "$verb" = proxy ] || [ "$verb" = store ] || [ "$verb" = snapshot ]; then
            verb="$verb $w"
        else
            arguments=$((arguments + 1))
        fi
    done

    if [[ $word == -* ]]; then
        words="$globals ${options[${verb:-none}]:-}"
    else
        case $verb in
        '' | help) words=$verbs ;;
        user | 'help user') words=$user_verbs ;;
        proxy | 'help proxy') words=$proxy_verbs ;;
        store | 'help store') words=$store_verbs ;;
        snapshot | 'help snapshot') words=$snapshot_verbs ;;
        attach | detach | heatmap | scrub | limit | status | resize | remove | rename | proxies | 'snapshot create' | 'snapshot list')
            [ "$arguments" -eq 0 ] && words=$(_blockstorectl_names)
            ;;
        doctor) words=$(_blockstorectl_names) ;;
        import | export)
            # the file of one is the first argument, of the other the second
            if { [ "$verb" = import ] && [ "$arguments" -eq 0 ]; } || { [ "$verb" = export ] && [ "$arguments" -eq 1 ]; }; then
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
                return
            fi
            [ "$arguments" -le 1 ] && words=$(_blockstorectl_names)
            ;;
        import-config)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return
            ;;
        esac
    fi

    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _blockstorectl blockstorectl
