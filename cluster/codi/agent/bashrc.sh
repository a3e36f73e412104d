# What an interactive shell of a workspace begins with; the user's own ~/.bashrc comes last and wins.
[ -r /etc/bash.bashrc ] && . /etc/bash.bashrc
shopt -s checkwinsize histappend
HISTCONTROL=ignoreboth
PROMPT_COMMAND="history -a${PROMPT_COMMAND:+; $PROMPT_COMMAND}"
PS1='\[\e[1;32m\]\u\[\e[0m\]:\[\e[1;34m\]\w\[\e[0m\]\$ '
alias ls='ls --color=auto' grep='grep --color=auto' ll='ls -alF'
[ -r ~/.bashrc ] && . ~/.bashrc
