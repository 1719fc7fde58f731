from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LinuxInterfaces(_message.Message):
    __slots__ = ("interface",)
    class InterfaceType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        VETH: _ClassVar[LinuxInterfaces.InterfaceType]
    VETH: LinuxInterfaces.InterfaceType
    class Interface(_message.Message):
        __slots__ = ("name", "description", "type", "enabled", "phys_address", "mtu", "host_if_name", "ip_addresses", "namespace", "veth")
        class Namespace(_message.Message):
            __slots__ = ("type", "pid", "microservice", "name", "filepath")
            class NamespaceType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
                __slots__ = ()
                PID_REF_NS: _ClassVar[LinuxInterfaces.Interface.Namespace.NamespaceType]
                MICROSERVICE_REF_NS: _ClassVar[LinuxInterfaces.Interface.Namespace.NamespaceType]
                NAMED_NS: _ClassVar[LinuxInterfaces.Interface.Namespace.NamespaceType]
                FILE_REF_NS: _ClassVar[LinuxInterfaces.Interface.Namespace.NamespaceType]
            PID_REF_NS: LinuxInterfaces.Interface.Namespace.NamespaceType
            MICROSERVICE_REF_NS: LinuxInterfaces.Interface.Namespace.NamespaceType
            NAMED_NS: LinuxInterfaces.Interface.Namespace.NamespaceType
            FILE_REF_NS: LinuxInterfaces.Interface.Namespace.NamespaceType
            TYPE_FIELD_NUMBER: _ClassVar[int]
            PID_FIELD_NUMBER: _ClassVar[int]
            MICROSERVICE_FIELD_NUMBER: _ClassVar[int]
            NAME_FIELD_NUMBER: _ClassVar[int]
            FILEPATH_FIELD_NUMBER: _ClassVar[int]
            type: LinuxInterfaces.Interface.Namespace.NamespaceType
            pid: int
            microservice: str
            name: str
            filepath: str
            def __init__(self, type: _Optional[_Union[LinuxInterfaces.Interface.Namespace.NamespaceType, str]] = ..., pid: _Optional[int] = ..., microservice: _Optional[str] = ..., name: _Optional[str] = ..., filepath: _Optional[str] = ...) -> None: ...
        class Veth(_message.Message):
            __slots__ = ("peer_if_name",)
            PEER_IF_NAME_FIELD_NUMBER: _ClassVar[int]
            peer_if_name: str
            def __init__(self, peer_if_name: _Optional[str] = ...) -> None: ...
        NAME_FIELD_NUMBER: _ClassVar[int]
        DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
        TYPE_FIELD_NUMBER: _ClassVar[int]
        ENABLED_FIELD_NUMBER: _ClassVar[int]
        PHYS_ADDRESS_FIELD_NUMBER: _ClassVar[int]
        MTU_FIELD_NUMBER: _ClassVar[int]
        HOST_IF_NAME_FIELD_NUMBER: _ClassVar[int]
        IP_ADDRESSES_FIELD_NUMBER: _ClassVar[int]
        NAMESPACE_FIELD_NUMBER: _ClassVar[int]
        VETH_FIELD_NUMBER: _ClassVar[int]
        name: str
        description: str
        type: LinuxInterfaces.InterfaceType
        enabled: bool
        phys_address: str
        mtu: int
        host_if_name: str
        ip_addresses: _containers.RepeatedScalarFieldContainer[str]
        namespace: LinuxInterfaces.Interface.Namespace
        veth: LinuxInterfaces.Interface.Veth
        def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., type: _Optional[_Union[LinuxInterfaces.InterfaceType, str]] = ..., enabled: _Optional[bool] = ..., phys_address: _Optional[str] = ..., mtu: _Optional[int] = ..., host_if_name: _Optional[str] = ..., ip_addresses: _Optional[_Iterable[str]] = ..., namespace: _Optional[_Union[LinuxInterfaces.Interface.Namespace, _Mapping]] = ..., veth: _Optional[_Union[LinuxInterfaces.Interface.Veth, _Mapping]] = ...) -> None: ...
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    interface: _containers.RepeatedCompositeFieldContainer[LinuxInterfaces.Interface]
    def __init__(self, interface: _Optional[_Iterable[_Union[LinuxInterfaces.Interface, _Mapping]]] = ...) -> None: ...
